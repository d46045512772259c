from __future__ import annotations

import numpy as np
import pytest

from couplet.datasets.registry import read_dataset
from couplet.datasets.tables import resolve_unknown
from tests.support.errors import refused

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Edema"
TRAIN = [
    "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,-1.0",
    "CheXpert-v1.0-small/train/patient00002/study2/view1_frontal.jpg,Male,87,Frontal,PA,,0.0,1.0",
    "CheXpert-v1.0-small/train/patient00002/study2/view2_lateral.jpg,Male,87,Lateral,,,0.0,1.0",
]
VALID = ["CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,0.0"]


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
    assert dataset.labels == ["No Finding", "Cardiomegaly", "Edema"]
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
        images[dataset.labels], [[1, np.nan, -1], [np.nan, 0, 1], [np.nan, 0, 1], [0, 1, 0]]
    )
    assert dataset.test_labelled


def test_uncertain_and_blank_get_their_meaning_later(chexpert):
    dataset = read_dataset("chexpert", chexpert)
    resolved = resolve_unknown(dataset.table, dataset.labels, {"Edema": "ones"}, "zeros")
    np.testing.assert_array_equal(resolved[dataset.labels], [[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 1, 0]])


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
    (chexpert / "valid.csv").unlink()
    assert f"{chexpert}/valid.csv is not there" in refused(read_dataset, "chexpert", chexpert)


def test_a_table_without_labels(put, raw):
    for name, rows in (("train.csv", TRAIN), ("valid.csv", VALID)):
        rows = [",".join(row.split(",")[:5]) for row in rows]
        put(name, "\n".join([",".join(HEADER.split(",")[:5]), *rows]))
        for row in rows:
            put(row.split(",")[0].partition("/")[2])
    assert "the data set has no labels" in refused(read_dataset, "chexpert", raw)
