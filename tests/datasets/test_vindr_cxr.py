from __future__ import annotations

import numpy as np
import pytest

from couplet.datasets.registry import read_dataset
from couplet.datasets.vindr_cxr import LABELS
from tests.support.errors import refused

TRAIN, TEST = "annotations/image_labels_train.csv", "annotations/image_labels_test.csv"
OTHERS = [name for name in LABELS if name not in ("Cardiomegaly", "Other diseases")]
BLANK = ",".join("0" * len(OTHERS))
# image -> what each reader says of Cardiomegaly and Other diseases
READ = {
    "a1": {"R1": (1, 0), "R2": (1, 0), "R3": (0, 1)},
    "b2": {"R8": (0, 0), "R9": (0, 0), "R10": (1, 0)},
    "c3": {"R1": (1, 1), "R2": (1, 1), "R3": (1, 1)},
}
TRAIN_TABLE = f"image_id,rad_id,Cardiomegaly,Other diseases,{','.join(OTHERS)}\n" + "".join(
    f"{image},{reader},{a},{b},{BLANK}\n"
    for image, readers in READ.items()
    for reader, (a, b) in readers.items()
)
TEST_TABLE = f"image_id,Cardiomegaly,Other disease,{','.join(OTHERS)}\nd4,1,1,{BLANK}\ne5,0,0,{BLANK}\n"


@pytest.fixture
def vindr(put, raw):
    put(TRAIN, TRAIN_TABLE)
    put(TEST, TEST_TABLE)
    for path in ("train/a1", "train/b2", "train/c3", "test/d4", "test/e5"):
        put(f"{path}.dicom")
    return raw


def labels_of(dataset) -> dict[str, list[float]]:
    table = dataset.table.set_index("image_id")[["Cardiomegaly", "Other diseases"]]
    return {str(name): row.tolist() for name, row in table.iterrows()}


def test_most_of_the_readers_decide(vindr, capsys):
    dataset = read_dataset("vindr_cxr", vindr)
    assert dataset.labels == list(LABELS) and len(LABELS) == 28
    assert labels_of(dataset) == {"a1": [1, 0], "b2": [0, 0], "c3": [1, 1], "d4": [1, 1], "e5": [0, 0]}
    images = dataset.table
    assert images["part"].tolist() == ["train"] * 3 + ["test"] * 2
    assert images["path"].tolist() == [
        "train/a1.dicom",
        "train/b2.dicom",
        "train/c3.dicom",
        "test/d4.dicom",
        "test/e5.dicom",
    ]
    assert images["patient_id"].tolist() == images["image_id"].tolist()
    assert images["row"].tolist() == [2, 5, 8, 2, 3]
    assert (images["view"] == "").all()
    assert (images[OTHERS] == 0).all(axis=None)
    assert dataset.notes == {"images_without_patient": 5}
    assert "names no patients" in capsys.readouterr().out


def test_any_reader_decides(vindr):
    dataset = read_dataset("vindr_cxr", vindr, {"readers": "any"})
    assert labels_of(dataset) == {"a1": [1, 1], "b2": [1, 0], "c3": [1, 1], "d4": [1, 1], "e5": [0, 0]}


def test_readers_that_are_divided_evenly_are_uncertain_and_cells_without_an_answer_do_not_count(put, vindr):
    table = TRAIN_TABLE.replace(f"a1,R3,0,1,{BLANK}\n", "").replace("a1,R2,1,0,", "a1,R2,0,0,")
    table = table.replace("b2,R9,0,0,", "b2,R9,,,").replace("b2,R8,0,0,", "b2,R8,,-1,")
    put(TRAIN, table)
    dataset = read_dataset("vindr_cxr", vindr)
    assert labels_of(dataset) | {"d4": [], "e5": []} == {
        "a1": [-1, 0],
        "b2": [1, 0],
        "c3": [1, 1],
        "d4": [],
        "e5": [],
    }
    put(TRAIN, table.replace("b2,R10,1,0,", "b2,R10,,,"))
    assert np.isnan(labels_of(read_dataset("vindr_cxr", vindr))["b2"]).all()


def test_rows_of_an_image_need_not_stand_together(put, vindr):
    header, *rows = TRAIN_TABLE.splitlines(keepends=True)
    put(TRAIN, header + "".join(rows[::3] + rows[1::3] + rows[2::3]))
    dataset = read_dataset("vindr_cxr", vindr)
    assert labels_of(dataset) == {"a1": [1, 0], "b2": [0, 0], "c3": [1, 1], "d4": [1, 1], "e5": [0, 0]}
    assert dataset.table["row"].tolist() == [2, 3, 4, 2, 3]


def test_without_the_test_table_all_images_are_training_images(vindr, capsys):
    (vindr / TEST).unlink()
    assert set(read_dataset("vindr_cxr", vindr).table["part"]) == {"train"}
    assert f"{TEST} is not there: the test part is drawn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        (TRAIN, "a1,R2,", "a1,R1,", "row 3, column 'rad_id': 'R1' has read 'a1' in an earlier row: take one of them out"),
        (TRAIN, "b2,R8,0", "b2,R8,2", "row 5, column 'Cardiomegaly': '2' is not a label: write 1, 0, -1"),
        (TRAIN, "b2,R8", ",R8", "row 5, column 'image_id': the cell is empty: fill it or take the row out"),
        (TRAIN, "c3,R1", "c3,", "row 8, column 'rad_id': the cell is empty: fill it or take the row out"),
        (TRAIN, "Cardiomegaly", "Heart", "row 1: column 'Cardiomegaly' is missing"),
        (TRAIN, "c3,", "../c3,", "row 8, column 'image_id': 'train/../c3.dicom' is not a path inside the data folder"),
        (TRAIN, "c3,", "c4,", "row 8, column 'image_id': train/c4.dicom is not in "),
        (TEST, "e5", "d4", "row 3, column 'image_id': 'd4' is already in row 2: take one of them out"),
    ],
)  # fmt: skip
def test_mistakes(vindr, put, name, old, new, expected):
    put(name, (TRAIN_TABLE if name == TRAIN else TEST_TABLE).replace(old, new))
    assert f"{vindr}/{name}, {expected}" in refused(read_dataset, "vindr_cxr", vindr)


def test_a_missing_table(vindr):
    (vindr / TRAIN).unlink()
    assert f"{vindr}/{TRAIN} is not there" in refused(read_dataset, "vindr_cxr", vindr)
