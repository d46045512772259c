from __future__ import annotations

import numpy as np
import pytest

from couplet.datasets import chexpert
from couplet.datasets.brax import LABELS
from couplet.datasets.registry import read_dataset
from tests.support.errors import refused

TABLE = "master_spreadsheet_update.csv"
BEFORE = "DicomPath,PngPath,PatientID,PatientSex,PatientAge,AccessionNumber,StudyDate"
AFTER = "ViewPosition,Rows,Columns,Manufacturer"
HOMES = [f"id_{p}/Study_{s}/Series_{r}/image-{i}" for p, s, r, i in ("a111", "a123", "b435", "c546")]


def row(home: str, people: str, labels: dict[str, str], view: str) -> str:
    cells = ",".join(labels.get(name, "") for name in LABELS)
    return f"Anonymized_DICOMs/{home}.dcm,images/{home}.png,{people},20100101,{cells},{view},1000,900,X\n"


ROWS = [
    row(HOMES[0], "id_a,M,060Y,a1", {"Cardiomegaly": "1.0", "Edema": "-1.0", "Pneumonia": "0.0"}, "PA"),
    row(HOMES[1], "id_a,M,060Y,a1", {"Cardiomegaly": "1", "Edema": "-1", "Pneumonia": "0"}, "L"),
    row(HOMES[2], "id_b,F,85 or more,b4", {"No Finding": "1.0"}, ""),
    row(HOMES[3], "id_c,F,,a1", {"Support Devices": "1.0"}, "AP"),
]
TABLE_TEXT = f"{BEFORE},{','.join(LABELS)},{AFTER}\n" + "".join(ROWS)


@pytest.fixture
def brax(put, raw):
    put(TABLE, TABLE_TEXT)
    for home in HOMES:
        put(f"images/{home}.png")
    return raw


def test_every_value_of_the_table(brax, capsys):
    dataset = read_dataset("brax", brax)
    images = dataset.table
    assert dataset.labels == list(chexpert.LABELS)
    assert images["image_id"].tolist() == images["path"].tolist() == [f"images/{home}.png" for home in HOMES]
    assert images["part"].tolist() == ["train"] * 4
    assert images["patient_id"].tolist() == ["id_a", "id_a", "id_b", "id_c"]
    # Accession numbers that two people share are two studies.
    assert images["study_id"].tolist() == ["id_a_a1", "id_a_a1", "id_b_b4", "id_c_a1"]
    assert images["view"].tolist() == ["PA", "L", "", "AP"]
    assert images["sex"].tolist() == ["M", "M", "F", "F"]
    assert images["age"].tolist() == ["060Y", "060Y", "85 or more", ""]
    assert images["row"].tolist() == [2, 3, 4, 5]
    expected = np.full((4, 14), np.nan)
    for at, name, value in [
        *((at, name, value) for at in (0, 1) for name, value in [("Cardiomegaly", 1), ("Edema", -1), ("Pneumonia", 0)]),
        (2, "No Finding", 1),
        (3, "Support Devices", 1),
    ]:  # fmt: skip
        expected[at, LABELS.index(name)] = value
    np.testing.assert_array_equal(images[list(LABELS)], expected)
    out = capsys.readouterr().out
    assert "brax: the release has no test part, it is drawn (split.test_fraction)" in out
    assert f"{TABLE}: columns that are not read: StudyDate, Rows, Columns, Manufacturer" in out


@pytest.mark.parametrize("ending", [".dcm", ""])
def test_dicom_files_with_and_without_their_ending(put, raw, ending):
    put(TABLE, TABLE_TEXT.replace(".dcm", ending))
    for home in HOMES:
        put(f"Anonymized_DICOMs/{home}.dcm")
    images = read_dataset("brax", raw, {"files": "dcm"}).table
    assert images["path"].tolist() == [f"Anonymized_DICOMs/{home}.dcm" for home in HOMES]
    assert images["image_id"].tolist() == [f"Anonymized_DICOMs/{home}{ending}" for home in HOMES]


def test_the_corrected_table_comes_before_the_first(put, brax):
    put("master_spreadsheet.csv", TABLE_TEXT.replace("id_c,F", "id_d,F"))
    assert read_dataset("brax", brax).table["patient_id"].tolist()[3] == "id_c"
    (brax / TABLE).unlink()
    assert read_dataset("brax", brax).table["patient_id"].tolist()[3] == "id_d"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Pleural Other", "Pleura Other", "row 1: column 'Pleural Other' is missing: add it to the header; in the header did you mean 'Pleura Other'?"),
        ("PngPath", "Path", "row 1: column 'PngPath' is missing"),
        ("AccessionNumber", "Accession", "row 1: column 'AccessionNumber' is missing"),
        ("-1.0", "2.0", "row 2, column 'Edema': '2.0' is not a label: write 1, 0, -1 (uncertain) or nothing (unknown)"),
        (",id_b,", ",,", "row 4, column 'PatientID': the cell is empty: fill it or take the row out"),
        (",b4,", ",,", "row 4, column 'AccessionNumber': the cell is empty: fill it or take the row out"),
        (f"images/{HOMES[1]}", f"images/{HOMES[0]}", f"row 3, column 'PngPath': 'images/{HOMES[0]}.png' is already in row 2"),
        (f"images/{HOMES[1]}", "images/x", "row 3, column 'PngPath': images/x.png is not in "),
        (f"images/{HOMES[1]}", "../x", "row 3, column 'PngPath': '../x.png' is not a path inside the data folder"),
    ],
)  # fmt: skip
def test_mistakes(brax, put, old, new, expected):
    put(TABLE, TABLE_TEXT.replace(old, new))
    assert f"{brax}/{TABLE}, {expected}" in refused(read_dataset, "brax", brax)


def test_no_table(raw):
    assert f"{raw} has no label table; looked for {TABLE} or master_spreadsheet.csv" in refused(
        read_dataset, "brax", raw
    )
    assert refused(read_dataset, "brax", raw, {"files": "jpg"}) == (
        "data.source_args.files = 'jpg' is not allowed: it should be 'png' or 'dcm'"
    )
