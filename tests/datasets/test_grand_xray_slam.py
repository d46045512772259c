from __future__ import annotations

import numpy as np
import pytest

from couplet.datasets.grand_xray_slam import LABELS, PEOPLE
from couplet.datasets.registry import read_dataset
from tests.support.errors import refused

HEADER = ",".join([*PEOPLE, *LABELS])
# The first row of division B as published, one without sex and age, a lateral one without a position.
ROWS = [
    "00000003_001_001.jpg,3,1,Male,41.0,Frontal,AP,0,1,0,1,1,0,0,1,0,0,0,0,0,0",
    "00000012_002_001.jpg,12,2,,,Frontal,PA,0,0,0,0,0,0,0,0,1,0,0,0,0,0",
    "00000012_002_002.jpg,12,2,,,Lateral,,0,0,0,0,0,0,0,0,1,0,0,0,0,0",
]
TEST = ["00000040_010_001.jpg", "00000005_001_002.jpg", "00000005_001_001.jpg"]  # not sorted, as published


def table(*rows: str) -> str:
    return "\n".join([HEADER, *rows]) + "\n"


def sample(*names: str, columns: tuple[str, ...] = LABELS) -> str:
    return "\n".join(
        [",".join(["Image_name", *columns]), *(f"{name}{',0.5' * len(columns)}" for name in names)]
    )


@pytest.fixture
def division_b(put, raw):
    put("train2.csv", table(*ROWS))
    put("sample_submission_2.csv", sample(*TEST))
    for row in ROWS:
        put(f"train2/{row.split(',')[0]}")
    for name in TEST:
        put(f"test2/{name}")
    return raw


def test_division_b(division_b):
    dataset = read_dataset("grand_xray_slam", division_b)
    images = dataset.table
    assert dataset.labels == list(LABELS) and len(LABELS) == 14
    assert images["image_id"].tolist() == [*(row.split(",")[0] for row in ROWS), *TEST]
    assert images["part"].tolist() == ["train"] * 3 + ["test"] * 3
    assert images["patient_id"].tolist() == ["3", "12", "12", "40", "5", "5"]
    assert images["study_id"].tolist() == ["3_1", "12_2", "12_2", "40_10", "5_1", "5_1"]
    assert images["view"].tolist() == ["AP", "PA", "Lateral", "", "", ""]
    assert images["sex"].tolist() == ["Male", "", "", "", "", ""]
    assert images["age"].tolist() == ["41.0", "", "", "", "", ""]
    assert images["path"].tolist() == [f"train2/{row.split(',')[0]}" for row in ROWS] + [
        f"test2/{n}" for n in TEST
    ]
    assert images["row"].tolist() == [2, 3, 4, 0, 0, 0]
    np.testing.assert_array_equal(
        images.loc[0, list(LABELS)].astype(float), [0, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    )
    assert images.loc[3:, list(LABELS)].isna().all(axis=None)
    assert not dataset.test_labelled
    assert dataset.submission_id == "Image_name"
    assert dataset.submission == TEST


def test_the_phantom_and_division_a_are_read_the_same_way(put, raw):
    put("train1.csv", table(*ROWS[:1]))
    put("train1/00000003_001_001.jpg")
    for source in ("phantom", "grand_xray_slam"):
        dataset = read_dataset(source, raw)
        assert dataset.table["path"].tolist() == ["train1/00000003_001_001.jpg"]
        assert dataset.submission is None and dataset.submission_id is None


def test_test2_gives_the_labels_of_the_test_images(division_b, put):
    # Another order than the sample submission's; with only names and labels, or with all columns.
    put(
        "test2.csv",
        ",".join(["Image_name", *LABELS]) + "\n" + "".join(f"{n}{',1' * 14}\n" for n in sorted(TEST)),
    )
    dataset = read_dataset("phantom", division_b)
    test = dataset.table[dataset.table["part"] == "test"]
    assert test["image_id"].tolist() == sorted(TEST)
    assert test["patient_id"].tolist() == ["5", "5", "40"]
    assert (test[list(LABELS)] == 1).all(axis=None)
    assert test["row"].tolist() == [2, 3, 4]
    assert dataset.test_labelled
    assert dataset.submission == TEST
    rows = [f"{name},900{i},1,Female,33.0,Frontal,PA{',0' * 14}" for i, name in enumerate(TEST)]
    put("test2.csv", table(*rows))
    test = read_dataset("phantom", division_b).table.tail(3)
    assert test["patient_id"].tolist() == ["9000", "9001", "9002"]
    assert test["age"].tolist() == ["33.0"] * 3


def test_test2_must_list_exactly_the_test_images(division_b, put):
    header = ",".join(["Image_name", *LABELS])
    put("test2.csv", header + "".join(f"\n{name}{',0' * 14}" for name in [*TEST, "00000099_001_001.jpg"]))
    assert (
        f"{division_b}/test2.csv, row 5, column 'Image_name': '00000099_001_001.jpg' is not in the sample"
        in refused(read_dataset, "phantom", division_b)
    )
    put("test2.csv", header + f"\n{TEST[0]}{',0' * 14}")
    assert (
        f"test2.csv has no row for the test image {TEST[1]!r} (missing: 2): label all test images"
        in refused(read_dataset, "phantom", division_b)
    )


def test_both_divisions_need_a_choice(division_b, put):
    put("train1.csv", table(ROWS[0].replace("00000003", "00000001")))
    put("train1/00000001_001_001.jpg")
    assert refused(read_dataset, "grand_xray_slam", division_b) == (
        f"{division_b} holds both divisions (train1.csv, train2.csv): set data.source_args.division to A or B"
    )
    assert len(read_dataset("grand_xray_slam", division_b, {"division": "B"}).table) == 6
    assert len(read_dataset("grand_xray_slam", division_b, {"division": "A"}).table) == 1


def test_the_other_division_is_never_read_instead(division_b):
    message = refused(read_dataset, "grand_xray_slam", division_b, {"division": "A"})
    assert message.startswith(
        f"{division_b} has no label table; looked for train1.csv or one *.csv with the columns"
    )


def test_a_table_of_another_name_beside_images(put, raw):
    put("mine.csv", table(*ROWS))
    for row in ROWS:
        put(f"images/{row.split(',')[0]}")
    put("labels.csv", "Image_name,Edema\na.jpg,1\n")  # not the 21 columns
    dataset = read_dataset("grand_xray_slam", raw)
    assert dataset.table["path"].str.startswith("images/").all()
    assert dataset.table["part"].eq("train").all()
    put("theirs.csv", table(*ROWS))
    assert "several tables fit (mine.csv, theirs.csv)" in refused(read_dataset, "grand_xray_slam", raw)


def test_a_test_table_is_never_read_as_training_table(put, raw):
    put("test2.csv", table(*ROWS))
    for row in ROWS:
        put(f"images/{row.split(',')[0]}")
    assert (
        "has no label table; looked for train1.csv or train2.csv or one *.csv with the columns Image_name"
        in refused(read_dataset, "grand_xray_slam", raw)
    )


def test_an_image_cannot_be_train_and_test(division_b, put):
    put("sample_submission_2.csv", sample(TEST[0], "00000003_001_001.jpg"))
    assert refused(read_dataset, "grand_xray_slam", division_b) == (
        f"{division_b}/sample_submission_2.csv, row 3, column 'Image_name': '00000003_001_001.jpg' is also a "
        "training image of train2.csv: an image cannot be in both, take it out of one"
    )


def test_the_sample_submission_must_have_the_14_labels(division_b, put):
    put("sample_submission_2.csv", sample(*TEST, columns=LABELS[1:]))
    assert "sample_submission_2.csv, row 1: column 'Atelectasis' is missing" in refused(
        read_dataset, "grand_xray_slam", division_b
    )
    put("sample_submission_2.csv", sample(*TEST, columns=(*LABELS, "Hernia")))
    assert "sample_submission_2.csv, row 1: column 'Hernia' is none of the 14 labels" in refused(
        read_dataset, "grand_xray_slam", division_b
    )


def test_people_in_the_sample_submission_are_said_to_go_missing(division_b, put, capsys):
    put("sample_submission_2.csv", sample(*TEST, columns=("Patient_ID", *LABELS)))
    dataset = read_dataset("grand_xray_slam", division_b)
    assert dataset.submission_columns == ["Image_name", *LABELS]
    assert (
        "sample_submission_2.csv: columns that are no labels and will not be in submission.csv: Patient_ID\n"
        in capsys.readouterr().out
    )


def test_missing_images_are_named_with_their_table(division_b):
    (division_b / "test2" / TEST[1]).unlink()
    assert refused(read_dataset, "grand_xray_slam", division_b).startswith(
        f"{division_b}/sample_submission_2.csv, row 3, column 'Image_name': test2/{TEST[1]} is not in {division_b}: "
    )
    (division_b / "train2" / "00000012_002_001.jpg").unlink()
    assert refused(read_dataset, "grand_xray_slam", division_b).startswith(
        f"{division_b}/train2.csv, row 3, column 'Image_name': train2/00000012_002_001.jpg is not in {division_b}: "
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("00000012_002_002", "00000012_002_001", "row 4, column 'Image_name': '00000012_002_001.jpg' is already in row 3"),
        ("00000003_001_001.jpg,3", ",3", "row 2, column 'Image_name': the cell is empty"),
        ("jpg,3,1", "jpg,,1", "row 2, column 'Patient_ID': the cell is empty"),
        ("jpg,3,1", "jpg,3,", "row 2, column 'Study': the cell is empty"),
        ("AP,0,1", "AP,2,1", "row 2, column 'Atelectasis': '2' is not a label"),
        ("00000003_001_001.jpg", "../x.jpg", "row 2, column 'Image_name': '../x.jpg' is not a path inside"),
        ("Patient_ID", "Patient", "row 1: column 'Patient_ID' is missing"),
    ],
)  # fmt: skip
def test_mistakes_in_the_table(division_b, put, old, new, expected):
    put("train2.csv", table(*ROWS).replace(old, new, 1))
    assert f"{division_b}/train2.csv, {expected}" in refused(read_dataset, "grand_xray_slam", division_b)


def test_names_without_numbers_are_their_own_patients(put, raw):
    put("train2.csv", table(*ROWS[:1]))
    put("train2/00000003_001_001.jpg")
    put("sample_submission_2.csv", sample("a.jpg", "b.jpg"))
    put("test2/a.jpg")
    put("test2/b.jpg")
    assert read_dataset("grand_xray_slam", raw).table["patient_id"].tolist() == ["3", "a.jpg", "b.jpg"]


def test_real_images_with_a_table_in_this_layout(shared_data):
    dataset = read_dataset("grand_xray_slam", shared_data / "nih_cxr14")
    images = dataset.table
    assert len(images) == 852 and images["patient_id"].nunique() == 696
    assert images["part"].eq("train").all() and dataset.submission is None
    assert images["path"].iloc[0] == "images/00000001_000.jpg"
    # Counted in slam_shaped.csv with awk.
    assert images[["Atelectasis", "Lung Opacity", "No Finding", "Pneumonia"]].sum().tolist() == [
        101,
        421,
        317,
        248,
    ]
    assert images[["Enlarged Cardiomediastinum", "Fracture", "Support Devices"]].sum().tolist() == [0, 0, 0]


def test_test_images_without_their_list_are_not_passed_over(division_b):
    (division_b / "sample_submission_2.csv").unlink()
    assert refused(read_dataset, "grand_xray_slam", division_b) == (
        f"{division_b}/sample_submission_2.csv is not there (nor test2.csv), but test2/ holds images: put it there, or "
        "move test2/ elsewhere to draw the test part from the training images"
    )
    for image in (division_b / "test2").iterdir():
        image.unlink()
    assert set(read_dataset("grand_xray_slam", division_b).table["part"]) == {"train"}
