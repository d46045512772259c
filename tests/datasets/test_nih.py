from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from couplet.datasets.nih import FINDINGS
from couplet.datasets.registry import read_dataset
from tests.support.errors import refused

# The header as published: two columns' names are split by their own comma.
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = [
    "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143",
    "00000002_000.png,No Finding,0,2,80,F,AP,2500,2048,0.171,0.171",
    "00000003_001.png,Hernia|Pleural_Thickening,0,3,74,F,PA,2500,2048,0.168,0.168",
]
NAMES = [row.split(",")[0] for row in ROWS]


def table(*rows: str) -> str:
    return "\n".join([HEADER, *rows]) + "\n"


@pytest.fixture
def nih(put, raw):
    put("Data_Entry_2017_v2020.csv", table(*ROWS))
    for name in NAMES:
        put(f"images/{name}")
    return raw


def test_the_published_table(nih):
    dataset = read_dataset("nih", nih)
    images = dataset.table
    assert dataset.labels == list(FINDINGS)
    assert (
        dataset.labels[:3] == ["Atelectasis", "Cardiomegaly", "Effusion"] and dataset.labels[-1] == "Hernia"
    )
    assert images["image_id"].tolist() == NAMES
    assert images["part"].tolist() == ["train"] * 4
    assert images["patient_id"].tolist() == ["1", "1", "2", "3"]
    assert images["study_id"].tolist() == ["1_0", "1_1", "2_0", "3_0"]
    assert images["view"].tolist() == ["PA", "PA", "AP", "PA"]
    assert images["sex"].tolist() == ["M", "M", "F", "F"]
    assert images["age"].tolist() == ["57", "58", "80", "74"]
    assert images["path"].tolist() == [f"images/{name}" for name in NAMES]
    assert images["row"].tolist() == [2, 3, 4, 5]
    expected = np.zeros((4, 14))
    for row, name in [(0, "Cardiomegaly"), (1, "Cardiomegaly"), (1, "Emphysema"), (3, "Hernia")]:
        expected[row, FINDINGS.index(name)] = 1
    expected[3, FINDINGS.index("Pleural_Thickening")] = 1
    np.testing.assert_array_equal(images[list(FINDINGS)], expected)


def test_no_finding_can_be_a_15th_label(nih):
    dataset = read_dataset("nih", nih, {"no_finding": True})
    assert dataset.labels == [*FINDINGS, "No Finding"]
    assert dataset.table["No Finding"].tolist() == [0, 0, 1, 0]


def test_the_first_release_with_its_trailing_comma(put, nih):
    (nih / "Data_Entry_2017_v2020.csv").unlink()
    put("Data_Entry_2017.csv", "\n".join([f"{line}," for line in [HEADER, *ROWS]]).replace(",57,", ",057Y,"))
    images = read_dataset("nih", nih).table
    assert images["image_id"].tolist() == NAMES
    assert images["age"].tolist()[0] == "057Y"


def test_images_in_numbered_folders(put, raw):
    put("Data_Entry_2017_v2020.csv", table(*ROWS))
    for name, part in zip(NAMES, ("001", "001", "002", "012"), strict=True):
        put(f"images_{part}/images/{name}")
    paths = read_dataset("nih", raw).table["path"].tolist()
    assert paths == [
        f"images_{p}/images/{n}" for n, p in zip(NAMES, ("001", "001", "002", "012"), strict=True)
    ]
    put(f"images_002/images/{NAMES[0]}")
    message = refused(read_dataset, "nih", raw)
    assert NAMES[0] in message and "images_001/images/" in message and "images_002/images/" in message
    assert message.endswith("remove one of them")


def test_the_published_sample_with_its_images_one_folder_deeper(put, raw):
    put("sample_labels.csv", table(*ROWS).replace(",57,", ",057Y,"))
    for name in NAMES:
        put(f"sample/images/{name}")
    images = read_dataset("nih", raw).table
    assert images["path"].tolist() == [f"sample/images/{name}" for name in NAMES]
    assert images["age"].tolist()[0] == "057Y"


def test_the_sample_unpacked_twice_is_named(put, raw):
    put("sample_labels.csv", table(*ROWS))
    for name in NAMES:
        put(f"sample/images/{name}")
        put(f"sample/sample/images/{name}")
    message = refused(read_dataset, "nih", raw)
    assert message.startswith(f"{raw}: {NAMES[0]} is in sample/") and message.endswith("remove one of them")


def test_an_incomplete_download_is_named_and_counted(put, raw):
    put("Data_Entry_2017_v2020.csv", table(*ROWS))
    put(f"images_001/images/{NAMES[0]}")
    assert refused(read_dataset, "nih", raw) == (
        f"{raw}/Data_Entry_2017_v2020.csv, row 3, column 'Image Index': {NAMES[1]} is in no image folder "
        "(missing: 3 of 4): complete the download or shorten the table, docs/datasets.md says how"
    )
    put("Data_Entry_2017_v2020.csv", table(ROWS[0]))
    assert read_dataset("nih", raw).table["path"].tolist() == [f"images_001/images/{NAMES[0]}"]


def test_a_missing_image_in_the_one_folder(nih):
    (nih / "images" / NAMES[2]).unlink()
    assert refused(read_dataset, "nih", nih).startswith(
        f"{nih}/Data_Entry_2017_v2020.csv, row 4, column 'Image Index': images/{NAMES[2]} is not in {nih}: put"
    )


def test_official_lists_give_the_parts(nih, put):
    # Patient 3 is test; the lists name more images than a shortened table, and need no last line end.
    put("train_val_list.txt", "\n".join([*NAMES[:3], "00000009_000.png"]))
    put("test_list.txt", f"{NAMES[3]}\r\n00000010_000.png\r\n")
    assert read_dataset("nih", nih).table["part"].tolist() == ["train", "train", "train", "test"]


def test_official_lists_hold_for_copies_in_another_format(put, raw):
    put("Data_Entry_2017_v2020.csv", table(*ROWS).replace(".png", ".jpg"))
    for name in NAMES:
        put(f"images/{name.replace('.png', '.jpg')}")
    put("train_val_list.txt", "\n".join(NAMES[:3]))
    put("test_list.txt", NAMES[3])
    images = read_dataset("nih", raw).table
    assert images["part"].tolist() == ["train", "train", "train", "test"]
    assert images["image_id"].iloc[3] == "00000003_001.jpg"


def test_lists_that_do_not_decide_are_errors(nih, put):
    put("train_val_list.txt", "\n".join(NAMES[:3]))
    assert refused(read_dataset, "nih", nih) == (
        f"{nih}/train_val_list.txt is there but test_list.txt is not: put both lists there, or neither"
    )
    put("test_list.txt", "\n".join(NAMES[2:]))
    assert refused(read_dataset, "nih", nih) == (
        f"{nih}/Data_Entry_2017_v2020.csv, row 4, column 'Image Index': '00000002_000.png' is in both "
        "train_val_list.txt and test_list.txt: mend train_val_list.txt and test_list.txt, or remove both"
    )
    put("train_val_list.txt", NAMES[0])
    assert "row 3, column 'Image Index': '00000001_001.png' is in neither list" in refused(
        read_dataset, "nih", nih
    )
    put("test_list.txt", "\n")
    assert "test_list.txt is empty" in refused(read_dataset, "nih", nih)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Emphysema", "Emphysem", "row 3, column 'Finding Labels': unknown finding 'Emphysem': did you mean 'Emphysema'?"),
        ("No Finding", "No Finding|Mass", "row 4, column 'Finding Labels': 'No Finding|Mass' names findings and 'No"),
        ("No Finding", "", "row 4, column 'Finding Labels': the cell is empty"),
        ("00000001_001", "00000001_000", "row 3, column 'Image Index': '00000001_000.png' is already in row 2"),
        ("00000001_001.png", "/tmp/a.png", "row 3, column 'Image Index': '/tmp/a.png' is not a path inside the data"),
        (",0,2,80", ",0,,80", "row 4, column 'Patient ID': the cell is empty"),
        ("Patient ID", "Patient", "row 1: column 'Patient ID' is missing"),
        (",0.171,0.171", ",0.171", "row 4: 10 cells, but the header has 11 columns"),
    ],
)  # fmt: skip
def test_mistakes_in_the_table(nih, put, old, new, expected):
    put("Data_Entry_2017_v2020.csv", table(*ROWS).replace(old, new, 1))
    assert f"{nih}/Data_Entry_2017_v2020.csv, {expected}" in refused(read_dataset, "nih", nih)


def test_real_images(shared_data):
    dataset = read_dataset("nih", shared_data / "nih_cxr14")
    images = dataset.table
    assert len(images) == 852 and images["patient_id"].nunique() == 696
    table = pd.read_csv(shared_data / "nih_cxr14" / "labels.csv")
    for name in FINDINGS:
        found = [name in cell.split("|") for cell in table["Finding Labels"]]
        np.testing.assert_array_equal(images[name], found)


def test_the_full_label_table(shared_data):
    start = time.perf_counter()
    dataset = read_dataset("nih", shared_data / "nih_cxr14_labels", check_files=False)
    assert time.perf_counter() - start < 20  # about 1.5 s on one core
    images = dataset.table
    assert images[dataset.labels].shape == (112_120, 14)
    assert images["patient_id"].nunique() == 30_805
    assert images["part"].value_counts().to_dict() == {"train": 86_524, "test": 25_596}
    test_list = set((shared_data / "nih_cxr14_labels" / "test_list.txt").read_text().split())
    assert set(images.loc[images["part"] == "test", "image_id"]) == test_list
    assert dataset.notes == {}  # nobody is in both parts
    # Counted in the table with: cut -d, -f2 | tr '|' '\n' | sort | uniq -c
    assert images[dataset.labels].sum().astype(int).tolist() == [
        *(11559, 2776, 13317, 19894, 5782, 6331, 1431),
        *(5302, 4667, 2303, 2516, 1686, 3385, 227),
    ]
    assert (images[dataset.labels].sum(axis=1) == 0).sum() == 60_361  # No Finding
