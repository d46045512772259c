from __future__ import annotations

import gzip

import numpy as np
import pytest

from couplet.datasets.mimic_cxr_jpg import LABELS
from couplet.datasets.registry import read_dataset
from tests.support.errors import refused

# The two labels that the rows fill, then the other twelve, blank.
FILLED = ["Atelectasis", "Edema"]
OTHERS = ["", *(name for name in LABELS if name not in FILLED)]
CHEXPERT = (
    f"subject_id,study_id,Atelectasis,Edema{','.join(OTHERS)}\n"
    f"10000032,50414267,,1.0{',' * 12}\n"
    f"10000764,57375967,-1.0,0.0{',' * 12}\n"
)
SPLIT = (
    "dicom_id,study_id,subject_id,split\n"
    "02aa804e-bde0afdd,50414267,10000032,train\n"
    "174413ec-4ec4c1f7,50414267,10000032,validate\n"
    "096052b7-d256dc40,57375967,10000764,test\n"
    "2a2277a9-b0ded155,53189527,10000935,train\n"
)
METADATA = (
    "dicom_id,subject_id,study_id,ViewPosition,Rows\n"
    "2a2277a9-b0ded155,10000935,53189527,AP,2544\n"
    "02aa804e-bde0afdd,10000032,50414267,PA,3056\n"
    "174413ec-4ec4c1f7,10000032,50414267,LATERAL,3056\n"
    "096052b7-d256dc40,10000764,57375967,,2544\n"
)
TABLES = {"chexpert": CHEXPERT, "split": SPLIT, "metadata": METADATA}
PATHS = [
    "files/p10/p10000032/s50414267/02aa804e-bde0afdd.jpg",
    "files/p10/p10000032/s50414267/174413ec-4ec4c1f7.jpg",
    "files/p10/p10000764/s57375967/096052b7-d256dc40.jpg",
]


@pytest.fixture
def mimic(put, raw):
    for name, text in TABLES.items():
        put(f"mimic-cxr-2.0.0-{name}.csv", text)
    for path in PATHS:
        put(path)
    return raw


def check(dataset):
    images = dataset.table
    assert dataset.labels == list(LABELS)
    assert images["image_id"].tolist() == ["02aa804e-bde0afdd", "174413ec-4ec4c1f7", "096052b7-d256dc40"]
    assert images["part"].tolist() == ["train", "train", "test"]
    assert images["patient_id"].tolist() == ["10000032", "10000032", "10000764"]
    assert images["study_id"].tolist() == ["50414267", "50414267", "57375967"]
    assert images["view"].tolist() == ["PA", "LATERAL", ""]
    assert images["path"].tolist() == PATHS
    assert images["row"].tolist() == [2, 3, 4]
    np.testing.assert_array_equal(images[FILLED], [[np.nan, 1], [np.nan, 1], [-1, 0]])
    assert dataset.notes == {"images_without_labels": 1}  # the fourth image's study has no labels


def test_the_published_layout(mimic):
    check(read_dataset("mimic_cxr_jpg", mimic))


def test_tables_as_they_come_gzipped(mimic):
    for name, text in TABLES.items():
        (mimic / f"mimic-cxr-2.0.0-{name}.csv").unlink()
        (mimic / f"mimic-cxr-2.0.0-{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    check(read_dataset("mimic_cxr_jpg", mimic))


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("split", ",validate", ",hold", "row 3, column 'split': 'hold' is not one of test, train, val, valid, validate, valid"),
        ("split", "174413ec-4ec4c1f7", "02aa804e-bde0afdd", "row 3, column 'dicom_id': '02aa804e-bde0afdd' is already"),
        ("split", "10000032,train", ",train", "row 2, column 'subject_id': the cell is empty"),
        ("metadata", "02aa804e-bde0afdd", "x", None),
        ("chexpert", ",-1.0,", ",3,", "row 3, column 'Atelectasis': '3' is not a label"),
        ("chexpert", "10000764,57375967", "10000032,50414267", "row 3, column 'study_id': study '10000032/50414267' has a"),
        ("metadata", "ViewPosition", "View", "row 1: column 'ViewPosition' is missing"),
    ],
)  # fmt: skip
def test_mistakes_in_the_tables(mimic, put, name, old, new, expected):
    put(f"mimic-cxr-2.0.0-{name}.csv", TABLES[name].replace(old, new, 1))
    message = refused(read_dataset, "mimic_cxr_jpg", mimic)
    if expected is None:
        assert message == (
            f"{mimic}/mimic-cxr-2.0.0-split.csv, row 2, column 'dicom_id': '02aa804e-bde0afdd' is not in "
            "mimic-cxr-2.0.0-metadata.csv: use the tables of one release"
        )
    else:
        assert f"{mimic}/mimic-cxr-2.0.0-{name}.csv, {expected}" in message


def test_missing_files(mimic):
    (mimic / PATHS[2]).unlink()
    assert refused(read_dataset, "mimic_cxr_jpg", mimic).startswith(
        f"{mimic}/mimic-cxr-2.0.0-split.csv, row 4, column 'dicom_id': {PATHS[2]} is not in {mimic}: "
    )
    (mimic / "mimic-cxr-2.0.0-chexpert.csv").unlink()
    assert f"{mimic}/mimic-cxr-2.0.0-chexpert.csv is not there" in refused(
        read_dataset, "mimic_cxr_jpg", mimic
    )


def test_negbio_labels_alone(mimic, capsys):
    (mimic / "mimic-cxr-2.0.0-chexpert.csv").rename(mimic / "mimic-cxr-2.0.0-negbio.csv")
    check(read_dataset("mimic_cxr_jpg", mimic))
    assert (
        "mimic_cxr_jpg: labels of mimic-cxr-2.0.0-negbio.csv, mimic-cxr-2.0.0-chexpert.csv is not there\n"
        in capsys.readouterr().out
    )


def test_of_two_labellers_chexpert_is_read_unless_the_settings_say_otherwise(mimic, put):
    put("mimic-cxr-2.0.0-negbio.csv", CHEXPERT.replace(",,1.0", ",,0.0"))
    assert read_dataset("mimic_cxr_jpg", mimic).table["Edema"].tolist() == [1, 1, 0]
    images = read_dataset("mimic_cxr_jpg", mimic, {"labeler": "negbio"}).table
    assert images["Edema"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["val", "valid"])
def test_other_names_of_the_validation_part(mimic, put, name):
    put("mimic-cxr-2.0.0-split.csv", SPLIT.replace("validate", name))
    check(read_dataset("mimic_cxr_jpg", mimic))


def test_a_column_that_is_no_label_is_never_one(mimic, put, capsys):
    put("mimic-cxr-2.0.0-chexpert.csv", CHEXPERT.replace("\n", ",0\n").replace("Devices,0", "Devices,fold"))
    check(read_dataset("mimic_cxr_jpg", mimic))
    assert "columns that are not read: fold\n" in capsys.readouterr().out


def test_the_dicom_files_of_mimic_cxr(mimic, put):
    for path in PATHS:
        (mimic / path).unlink()
        put(path.replace(".jpg", ".dcm"))
    dataset = read_dataset("mimic_cxr_jpg", mimic, {"files": "dcm"})
    assert dataset.table["path"].tolist() == [path.replace(".jpg", ".dcm") for path in PATHS]
    assert f"{PATHS[0]} is not in {mimic}" in refused(read_dataset, "mimic_cxr_jpg", mimic)
