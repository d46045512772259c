from __future__ import annotations

import shutil

import numpy as np
import pytest

from couplet.datasets.chexpert import LABELS
from couplet.datasets.registry import read_dataset
from couplet.datasets.tables import resolve_unknown
from tests.support.errors import refused

# The three labels that the rows fill, then the other eleven of the release, blank in train and 0 in valid.
FILLED = ["No Finding", "Cardiomegaly", "Edema"]
HEADER = ",".join(
    ["Path,Sex,Age,Frontal/Lateral,AP/PA", *FILLED, *(name for name in LABELS if name not in FILLED)]
)
TRAIN = [
    f"CheXpert-v1.0-small/train/{row}" + "," * 11
    for row in (
        "patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,-1.0",
        "patient00002/study2/view1_frontal.jpg,Male,87,Frontal,PA,,0.0,1.0",
        "patient00002/study2/view2_lateral.jpg,Male,87,Lateral,,,0.0,1.0",
    )
]
VALID = [
    "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,0.0"
    + ",0.0" * 11
]


def table(*rows: str) -> str:
    return "\n".join([HEADER, *rows]) + "\n"


@pytest.fixture
def chexpert(put, raw):
    put("train.csv", table(*TRAIN))
    put("valid.csv", table(*VALID))
    for row in [*TRAIN, *VALID]:
        put(row.split(",")[0].partition("/")[2])
    return raw


def test_the_published_layout(chexpert):
    dataset = read_dataset("chexpert", chexpert)
    images = dataset.table
    assert dataset.labels == list(LABELS)  # in the release's order, whatever the table's
    assert images["image_id"].tolist() == [
        "train/patient00001/study1/view1_frontal.jpg",
        "train/patient00002/study2/view1_frontal.jpg",
        "train/patient00002/study2/view2_lateral.jpg",
        "valid/patient64541/study1/view1_frontal.jpg",
    ]
    assert images["path"].tolist() == images["image_id"].tolist()
    assert images["part"].tolist() == ["train", "train", "train", "test"]
    assert images["patient_id"].tolist() == ["patient00001", "patient00002", "patient00002", "patient64541"]
    assert images["study_id"].tolist()[:2] == ["patient00001_study1", "patient00002_study2"]
    assert images["view"].tolist() == ["AP", "PA", "Lateral", "AP"]
    assert images["age"].tolist() == ["68", "87", "87", "73"]
    assert images["row"].tolist() == [2, 3, 4, 2]
    np.testing.assert_array_equal(
        images[FILLED], [[1, np.nan, -1], [np.nan, 0, 1], [np.nan, 0, 1], [0, 1, 0]]
    )
    assert images["Fracture"].tolist()[3] == 0 and images["Fracture"][:3].isna().all()
    assert dataset.test_labelled


def test_uncertain_and_blank_get_their_meaning_later(chexpert):
    dataset = read_dataset("chexpert", chexpert)
    resolved = resolve_unknown(dataset.table, dataset.labels, {"Edema": "ones"}, "zeros")
    np.testing.assert_array_equal(resolved[FILLED], [[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 1, 0]])
    assert resolved["Fracture"].tolist() == [0, 0, 0, 0]


def test_the_full_release_names_its_paths_otherwise(chexpert, put):
    for name, rows in (("train.csv", TRAIN), ("valid.csv", VALID)):
        put(name, table(*rows).replace("CheXpert-v1.0-small/", "CheXpert-v1.0/"))
    assert (
        read_dataset("chexpert", chexpert).table["path"].iloc[0]
        == "train/patient00001/study1/view1_frontal.jpg"
    )


def test_the_parts_never_mix(chexpert, put):
    put("train.csv", table(*TRAIN, *VALID))
    assert refused(read_dataset, "chexpert", chexpert) == (
        f"{chexpert}/train.csv, row 5, column 'Path': 'valid/patient64541/study1/view1_frontal.jpg' is not "
        "train/patientN/studyN/view.jpg: keep only rows of train/ in train.csv"
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("-1.0", "-2.0", "row 2, column 'Edema': '-2.0' is not a label: write 1, 0, -1 (uncertain) or nothing"),
        ("study2/view2_lateral", "study2/view1_frontal", "row 4, column 'Path': 'CheXpert-v1.0-small/train/patient00002"),
        ("train/patient00001", "train/../patient00001", "row 2, column 'Path': 'train/../patient00001/study1/view1_"),
        ("AP/PA", "View", "row 1: column 'AP/PA' is missing"),
    ],
)  # fmt: skip
def test_mistakes_in_the_table(chexpert, put, old, new, expected):
    put("train.csv", table(*TRAIN).replace(old, new, 1))
    assert f"{chexpert}/train.csv, {expected}" in refused(read_dataset, "chexpert", chexpert)


def test_missing_files(chexpert, put):
    (chexpert / "valid/patient64541/study1/view1_frontal.jpg").unlink()
    assert (
        f"{chexpert}/valid.csv, row 2, column 'Path': valid/patient64541/study1/view1_frontal.jpg is not in"
        in refused(read_dataset, "chexpert", chexpert)
    )
    put("valid.csv", table(*VALID).replace(",Edema", ",Oedema"))
    assert "valid.csv, row 1: column 'Edema' is missing" in refused(read_dataset, "chexpert", chexpert)
    (chexpert / "train.csv").unlink()
    assert f"{chexpert}/train.csv is not there" in refused(read_dataset, "chexpert", chexpert)


def test_a_missing_valid_table_leaves_no_test_part_and_is_said(chexpert, capsys):
    (chexpert / "valid.csv").unlink()
    dataset = read_dataset("chexpert", chexpert)
    assert dataset.table["part"].tolist() == ["train"] * 3
    assert (
        "chexpert: valid.csv and test_labels.csv are not there: the test part is drawn from train.csv "
        "(split.test_fraction)\n"
    ) in capsys.readouterr().out
    assert refused(read_dataset, "chexpert", chexpert, {"test_table": "valid.csv"}).startswith(
        f"{chexpert}/valid.csv is not there"
    )


def test_the_test_labels_of_the_release(chexpert, put, capsys):
    """Path and the 14 labels only, and paths that begin with test/."""
    row = "test/patient64741/study1/view1_frontal.jpg"
    put("test_labels.csv", ",".join(["Path", *LABELS]) + f"\n{row}" + ",0" * 13 + ",1\n")
    put(row)
    assert read_dataset("chexpert", chexpert).table["path"].iloc[3].startswith("valid/")
    assert "chexpert: test_labels.csv is not read, valid.csv is the test part: " in capsys.readouterr().out
    images = read_dataset("chexpert", chexpert, {"test_table": "test_labels.csv"}).table
    assert images["path"].tolist()[3:] == [row] and images["part"].tolist()[3:] == ["test"]
    assert images.iloc[3][["patient_id", "study_id", "view", "sex", "age"]].tolist() == [
        *("patient64741", "patient64741_study1", "", "", ""),
    ]  # fmt: skip
    assert images[list(LABELS)].iloc[3].tolist() == [0.0] * 13 + [1.0]
    (chexpert / "valid.csv").unlink()
    assert read_dataset("chexpert", chexpert).table["path"].tolist()[3:] == [row]


def test_a_table_without_labels(put, raw):
    for name, rows in (("train.csv", TRAIN), ("valid.csv", VALID)):
        rows = [",".join(row.split(",")[:5]) for row in rows]
        put(name, "\n".join([",".join(HEADER.split(",")[:5]), *rows]))
        for row in rows:
            put(row.split(",")[0].partition("/")[2])
    assert "train.csv, row 1: column 'No Finding' (and 13 more) is missing" in refused(
        read_dataset, "chexpert", raw
    )


def test_a_column_that_is_no_label_of_the_release_is_never_one(chexpert, put, capsys):
    extra = [f"{row},{i % 2}" for i, row in enumerate([f"{HEADER}", *TRAIN])]
    put("train.csv", "\n".join([f"{HEADER},fold", *extra[1:]]) + "\n")
    assert read_dataset("chexpert", chexpert).labels == list(LABELS)
    assert "train.csv: columns that are not read: fold\n" in capsys.readouterr().out


BATCHES = {
    "patient00001": "CheXpert-v1.0 batch 2 (train 1)",
    "patient00002": "CheXpert-v1.0 batch 4 (train 3)",
    "patient64541": "CheXpert-v1.0 batch 1 (validate & csv)/valid",
}


@pytest.fixture
def batches(put, raw):
    """The four folders in which the release comes: tables and valid/ in the first, patients in the others."""
    for name, rows in (("train.csv", TRAIN), ("valid.csv", VALID)):
        put(f"CheXpert-v1.0 batch 1 (validate & csv)/{name}", table(*rows).replace("v1.0-small", "v1.0"))
        for row in rows:
            patient, study, view = row.split(",")[0].split("/")[2:]
            put(f"{BATCHES[patient]}/{patient}/{study}/{view}")
    return raw


def test_the_four_folders_as_they_are_shipped(batches):
    images = read_dataset("chexpert", batches).table
    assert images["image_id"].tolist() == [
        "train/patient00001/study1/view1_frontal.jpg",
        "train/patient00002/study2/view1_frontal.jpg",
        "train/patient00002/study2/view2_lateral.jpg",
        "valid/patient64541/study1/view1_frontal.jpg",
    ]
    assert images["path"].tolist() == [
        "CheXpert-v1.0 batch 2 (train 1)/patient00001/study1/view1_frontal.jpg",
        "CheXpert-v1.0 batch 4 (train 3)/patient00002/study2/view1_frontal.jpg",
        "CheXpert-v1.0 batch 4 (train 3)/patient00002/study2/view2_lateral.jpg",
        "CheXpert-v1.0 batch 1 (validate & csv)/valid/patient64541/study1/view1_frontal.jpg",
    ]


def test_a_patient_in_no_batch_is_named(batches):
    shutil.rmtree(batches / BATCHES["patient00002"])
    assert refused(read_dataset, "chexpert", batches) == (
        f"{batches}/CheXpert-v1.0 batch 1 (validate & csv)/train.csv, row 3, column 'Path': patient00002 is in none "
        "of the folders 'CheXpert-v1.0 batch *' (patients missing: 1): put all four of them there"
    )


def test_the_release_one_folder_too_deep_is_named(put, raw):
    put("CheXpert-v1.0-small/train.csv", table(*TRAIN))
    assert refused(read_dataset, "chexpert", raw) == (
        f"{raw}/train.csv is not there, but CheXpert-v1.0-small/train.csv is: link that folder as {raw} instead"
    )
