from __future__ import annotations

import numpy as np
import pytest

from couplet.datasets.ranzcr_clip import LABELS
from couplet.datasets.registry import read_dataset
from tests.support.errors import refused

TRAIN, SAMPLE = "train.csv", "sample_submission.csv"
HEADER = f"StudyInstanceUID,{','.join(LABELS)}"
TRAIN_TABLE = (
    f"{HEADER},PatientID\n"
    "1.2.826.0.1,0,0,0,0,0,0,1,0,0,0,0,ec89415d1\n"
    "1.2.826.0.2,0,0,1,0,0,1,0,0,0,1,0,bf4c6da3c\n"
    "1.2.826.0.3,0,0,0,0,0,0,0,0,1,0,1,ec89415d1\n"
)
# The labels of a submission may stand in another order than those of the table.
SAMPLE_TABLE = (
    f"StudyInstanceUID,{','.join(reversed(LABELS))}\n1.2.826.0.9{',0' * 11}\n1.2.826.0.8{',0' * 11}\n"
)


@pytest.fixture
def ranzcr(put, raw):
    put(TRAIN, TRAIN_TABLE)
    put(SAMPLE, SAMPLE_TABLE)
    for path in ("train/1.2.826.0.1", "train/1.2.826.0.2", "train/1.2.826.0.3", "test/1.2.826.0.8", "test/1.2.826.0.9"):  # fmt: skip
        put(f"{path}.jpg")
    return raw


def test_every_value_of_the_published_tables(ranzcr):
    dataset = read_dataset("ranzcr_clip", ranzcr)
    images = dataset.table
    assert dataset.labels == list(LABELS) and len(LABELS) == 11
    uids = [f"1.2.826.0.{n}" for n in (1, 2, 3, 9, 8)]
    assert images["image_id"].tolist() == images["study_id"].tolist() == uids
    assert images["part"].tolist() == ["train"] * 3 + ["test"] * 2
    assert images["patient_id"].tolist() == ["ec89415d1", "bf4c6da3c", "ec89415d1", *uids[3:]]
    assert images["path"].tolist() == [f"train/{uid}.jpg" for uid in uids[:3]] + [
        f"test/{uid}.jpg" for uid in uids[3:]
    ]
    assert images["row"].tolist() == [2, 3, 4, 0, 0]
    assert (images[["view", "sex", "age"]] == "").all(axis=None)
    expected = np.zeros((3, 11))
    for row, name in [(0, "NGT - Normal"), (1, "ETT - Normal"), (1, "NGT - Incompletely Imaged"), (1, "CVC - Normal")]:  # fmt: skip
        expected[row, LABELS.index(name)] = 1
    expected[2, [LABELS.index("CVC - Borderline"), LABELS.index("Swan Ganz Catheter Present")]] = 1
    np.testing.assert_array_equal(images[list(LABELS)].iloc[:3], expected)
    assert images[list(LABELS)].iloc[3:].isna().all(axis=None) and not dataset.test_labelled


def test_the_submission_keeps_the_order_of_the_sample(ranzcr):
    dataset = read_dataset("ranzcr_clip", ranzcr)
    assert dataset.submission_id == "StudyInstanceUID"
    assert dataset.submission == ["1.2.826.0.9", "1.2.826.0.8"]
    assert dataset.submission_columns == ["StudyInstanceUID", *reversed(LABELS)]


def test_without_test_images_and_sample_the_test_part_is_drawn(ranzcr, capsys):
    (ranzcr / SAMPLE).unlink()
    assert refused(read_dataset, "ranzcr_clip", ranzcr) == (
        f"{ranzcr}/{SAMPLE} is not there, but test/ holds images: put it there, or move test/ elsewhere to draw the "
        "test part from the training images"
    )
    (ranzcr / "test").rename(ranzcr.parent / "test")
    dataset = read_dataset("ranzcr_clip", ranzcr)
    assert set(dataset.table["part"]) == {"train"} and dataset.submission is None
    assert (
        "sample_submission.csv is not there: the test part is drawn from train.csv" in capsys.readouterr().out
    )


def test_without_images_paths_are_the_competitions(ranzcr):
    paths = read_dataset("ranzcr_clip", ranzcr, check_files=False).table["path"].tolist()
    assert paths == read_dataset("ranzcr_clip", ranzcr).table["path"].tolist()


def test_a_column_that_is_no_label_is_said(ranzcr, put, capsys):
    put(TRAIN, "\n".join(f"{line},x" for line in TRAIN_TABLE.splitlines()))
    read_dataset("ranzcr_clip", ranzcr)
    assert "train.csv: columns that are not read: x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        (TRAIN, "ETT - Abnormal", "ETT-Abnormal", "row 1: column 'ETT - Abnormal' is missing: use the competition's own table, or data.source: csv for one with other labels; in the header did you mean 'ETT-Abnormal'?"),
        (TRAIN, "PatientID", "Patient", "row 1: column 'PatientID' is missing: use the competition's own table"),
        (TRAIN, "bf4c6da3c", "", "row 3, column 'PatientID': the cell is empty: fill it or take the row out"),
        (TRAIN, "1.2.826.0.3,0", "1.2.826.0.3,2", "row 4, column 'ETT - Abnormal': '2' is not a label: write 1, 0, -1"),
        (TRAIN, "1.2.826.0.2,", "1.2.826.0.1,", "row 3, column 'StudyInstanceUID': '1.2.826.0.1' is already in row 2"),
        (TRAIN, "1.2.826.0.2,", "1.2.826.0.7,", "row 3, column 'StudyInstanceUID': train/1.2.826.0.7 is not in "),
        (TRAIN, "1.2.826.0.2,", "../2,", "row 3, column 'StudyInstanceUID': 'train/../2' is not a path inside the data"),
        (SAMPLE, "1.2.826.0.8,", "1.2.826.0.9,", "row 3, column 'StudyInstanceUID': '1.2.826.0.9' is already in row 2"),
        (SAMPLE, "1.2.826.0.8,", "1.2.826.0.1,", "row 3, column 'StudyInstanceUID': '1.2.826.0.1' is also a training image of train.csv: an image cannot be in both, take it out of one"),
        (SAMPLE, "Swan Ganz Catheter Present", "Swan Ganz", "row 1: column 'Swan Ganz Catheter Present' is missing: use the competition's own table"),
    ],
)  # fmt: skip
def test_mistakes(ranzcr, put, name, old, new, expected):
    put(name, (TRAIN_TABLE if name == TRAIN else SAMPLE_TABLE).replace(old, new))
    assert f"{ranzcr}/{name}, {expected}" in refused(read_dataset, "ranzcr_clip", ranzcr)


def test_two_files_of_one_image(ranzcr, put):
    put("train/1.2.826.0.2.png")
    assert refused(read_dataset, "ranzcr_clip", ranzcr) == (
        f"{ranzcr}/train.csv, row 3, column 'StudyInstanceUID': train/1.2.826.0.2 could be train/1.2.826.0.2.jpg or "
        "train/1.2.826.0.2.png: remove one of them, or write the name with its ending"
    )


def test_a_table_of_three_of_the_labels_is_sent_to_csv_which_reads_it(shared_cases):
    folder = shared_cases / "ranzcr_no_extension"
    assert refused(read_dataset, "ranzcr_clip", folder) == (
        f"{folder}/train.csv, row 1: column 'ETT - Abnormal' (and 7 more) is missing: use the competition's own table, "
        "or data.source: csv for one with other labels; in the header did you mean 'NGT - Abnormal'? (allowed: "
        "StudyInstanceUID, ETT - Normal, NGT - Abnormal, CVC - Normal, PatientID)"
    )
    images = read_dataset("csv", folder).table
    assert len(images) == 12 and images["path"].iloc[0] == "train/1.2.3.0.jpg"
    assert images["ETT - Normal"].tolist()[:5] == [0, 1, 0, 1, 0]
