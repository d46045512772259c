from __future__ import annotations

import gzip

import numpy as np
import pytest

from couplet.datasets.padchest import FINDINGS, NAME
from couplet.datasets.registry import read_dataset
from tests.support.errors import refused

# The release's columns that are read, the nameless index and two of those that are not.
HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,"
    "PixelRepresentation_DICOM,Report,MethodLabel,Labels\n"
)
ROWS = [
    """0,a.png,0,20140915,s1,p1,1930.0,M,PA,0,torax sin,Physician,"['cardiomegaly', ' laminar atelectasis', '']"\n""",
    """1,b.png,0,20140915,s1,p1,1930.0,M,L,0,torax sin,Physician,"['cardiomegaly', ' laminar atelectasis', '']"\n""",
    """2,c.png,1,20150101,s2,p2,1950.0,F,AP_horizontal,0,normal,RNN_model,['normal']\n""",
    """3,d.png,1,20150101,s3,p3,,F,AP,0,sin cambios,RNN_model,"['unchanged', 'pneumonia']"\n""",
    """4,e.png,1,20150101,s4,p4,1990.0,O,COSTAL,0,x,RNN_model,"[""COPD signs"", 'normal', nan]"\n""",
]
OUT = [
    """5,f.png,1,20150101,s5,p5,1990.0,F,PA,0,x,RNN_model,['exclude']\n""",
    """6,g.png,1,20150101,s5,p5,1990.0,F,EXCLUDE,0,x,RNN_model,['nodule']\n""",
    """7,h.png,1,20150101,s5,p5,1990.0,F,PA,0,x,RNN_model,"['suboptimal study', 'nodule']"\n""",
    """8,i.png,1,20150101,s5,p5,1990.0,F,PA,0,x,RNN_model,['suboptimal study']\n""",
    """9,j.png,1,20150101,s5,p5,1990.0,F,PA,0,x,RNN_model,\n""",
    """10,k.png,1,20150101,s5,p5,1990.0,F,PA,0,x,RNN_model,[]\n""",
    """11,l.png,1,20150101,s5,p5,1990.0,F,PA,0,x,RNN_model,['unchanged']\n""",
]
TABLE = HEADER + "".join(ROWS + OUT)


@pytest.fixture
def padchest(put, raw):
    put(NAME, TABLE)
    for path in ("0/a", "0/b", "1/c", "1/d", "1/e", *(f"1/{name}" for name in "fghijkl")):
        put(f"{path}.png")
    return raw


def test_every_value_of_the_table(padchest, capsys):
    dataset = read_dataset("padchest", padchest)
    images = dataset.table
    assert dataset.labels == list(FINDINGS) and len(FINDINGS) == 26
    assert images["image_id"].tolist() == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert images["path"].tolist() == ["0/a.png", "0/b.png", "1/c.png", "1/d.png", "1/e.png"]
    assert images["part"].tolist() == ["train"] * 5
    assert images["patient_id"].tolist() == ["p1", "p1", "p2", "p3", "p4"]
    assert images["study_id"].tolist() == ["s1", "s1", "s2", "s3", "s4"]
    assert images["view"].tolist() == ["PA", "L", "AP", "AP", "COSTAL"]
    assert images["sex"].tolist() == ["M", "M", "F", "F", "O"]
    assert images["age"].tolist() == ["84", "84", "65", "", "25"]
    assert images["row"].tolist() == [2, 3, 4, 5, 6]
    expected = np.zeros((5, 26))
    names = list(FINDINGS)
    # A more specific name counts; what an unchanged report does not repeat is unknown; normal is everything absent.
    expected[:2, [names.index("cardiomegaly"), names.index("atelectasis")]] = 1
    expected[3] = np.nan
    expected[3, names.index("pneumonia")] = 1
    expected[4, names.index("COPD signs")] = 1
    np.testing.assert_array_equal(images[names], expected)
    assert dataset.notes == {
        "images_excluded": 2,
        "images_of_suboptimal_studies": 2,
        "images_without_labels": 3,
        "images_normal_with_findings": 1,
    }
    assert (
        "padchest: the release has no test part, it is drawn (split.test_fraction)" in capsys.readouterr().out
    )


def test_no_name_stands_twice_in_a_default_label():
    assert all(len(set(names)) == len(names) for names in FINDINGS.values())
    assert list(FINDINGS) == sorted(FINDINGS, key=str.lower)


def test_suboptimal_studies_can_be_kept_if_they_say_something(padchest):
    dataset = read_dataset("padchest", padchest, {"keep_suboptimal": True})
    assert dataset.table["image_id"].tolist()[5:] == ["h.png"]
    assert dataset.table["nodule"].tolist()[5:] == [1]
    assert dataset.notes["images_without_labels"] == 4
    assert "images_of_suboptimal_studies" not in dataset.notes


def test_labels_by_name_and_by_groups(padchest):
    dataset = read_dataset("padchest", padchest, {"labels": ["pneumonia", "laminar atelectasis", "normal"]})
    assert dataset.labels == ["pneumonia", "laminar atelectasis", "normal"]
    np.testing.assert_array_equal(
        dataset.table[dataset.labels],
        [[0, 1, 0], [0, 1, 0], [0, 0, 1], [1, np.nan, np.nan], [0, 0, 1]],
    )
    groups = {"Heart or lung": ["cardiomegaly", "pneumonia"]}
    dataset = read_dataset("padchest", padchest, {"labels": groups})
    assert dataset.table["Heart or lung"].tolist() == [1, 1, 0, 1, 0]


def test_physicians_labels_alone(padchest, put):
    dataset = read_dataset("padchest", padchest, {"labelled_by": "physicians"})
    assert dataset.table["image_id"].tolist() == ["a.png", "b.png"] and dataset.notes == {}
    put(NAME, TABLE.replace("Physician", "RNN_model"))
    assert refused(read_dataset, "padchest", padchest, {"labelled_by": "physicians"}) == (
        f"{padchest}/{NAME}: no row has the MethodLabel 'Physician': set data.source_args.labelled_by: all"
    )
    put(NAME, TABLE.replace("MethodLabel", "Method"))
    assert (
        "row 1: column 'MethodLabel' is missing: use the release's own table, or labelled_by: all"
        in refused(read_dataset, "padchest", padchest, {"labelled_by": "physicians"})
    )


def test_folders_that_are_there_alone(padchest):
    for name in "cdefghijkl":
        (padchest / f"1/{name}.png").unlink()
    assert (
        f"{NAME}, row 4, column 'ImageID': 1/c.png is not in {padchest} (3 images are missing): put"
        in refused(read_dataset, "padchest", padchest)
    )
    images = read_dataset("padchest", padchest, {"folders": [0]}).table
    assert images["path"].tolist() == ["0/a.png", "0/b.png"] and images["row"].tolist() == [2, 3]
    assert refused(read_dataset, "padchest", padchest, {"folders": [0, 7]}) == (
        f"data.source_args.folders: no row of {NAME} has ImageDir 7: take it out"
    )


def test_folders_that_are_not_there_are_named_and_counted(padchest, put):
    put(NAME, TABLE.replace("d.png,1", "d.png,54"))
    for name in "cdefghijkl":
        (padchest / f"1/{name}.png").unlink()
    (padchest / "1").rmdir()
    assert refused(read_dataset, "padchest", padchest) == (
        f"{padchest}/{NAME}, row 4, column 'ImageDir': the folder 1/ is not in {padchest} (folders missing: 2): complete "
        "the download, or set data.source_args.folders: [0] to read those that are"
    )
    assert len(read_dataset("padchest", padchest, {"folders": [0]}).table) == 2
    for name in "ab":
        (padchest / f"0/{name}.png").unlink()
    (padchest / "0").rmdir()
    assert refused(read_dataset, "padchest", padchest).endswith("(folders missing: 3): complete the download")


def test_a_packed_table_and_images_in_one_folder(put, raw, capsys):
    (raw / f"{NAME}.gz").write_bytes(gzip.compress(TABLE.encode(), mtime=0))
    for name in "abcde":
        put(f"images-224/{name}.png")
    images = read_dataset("padchest", raw).table
    assert images["path"].tolist() == [f"images-224/{name}.png" for name in "abcde"]
    assert f"{NAME}.gz: 5 of 5 images are in another folder than ImageDir says" in capsys.readouterr().out
    put("images-512/c.png")
    assert refused(read_dataset, "padchest", raw) == (
        f"{raw}/{NAME}.gz, row 4, column 'ImageID': 1/c.png is not there, but images-224/c.png and images-512/c.png "
        "are: remove one of them"
    )


def test_nothing_that_can_be_used(put, raw):
    put(NAME, HEADER + "".join(OUT))
    assert refused(read_dataset, "padchest", raw) == (
        f"{raw}/{NAME}: no image is left (images_excluded: 2, images_of_suboptimal_studies: 2, images_without_labels: 3): "
        "use the release's own table, or set data.source_args.keep_suboptimal: true"
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("['normal']", "normal", "row 4, column 'Labels': 'normal' is no list of names: write it like ['nodule', 'scoliosis']"),
        ("['normal']", "['normal'", "row 4, column 'Labels': \"['normal'\" is no list of names"),
        ("['normal']", "[['normal']]", "row 4, column 'Labels': \"[['normal']]\" is no list of names"),
        ("c.png", "b.png", "row 4, column 'ImageID': 'b.png' is already in row 3: take one of them out"),
        ("c.png", "../c.png", "row 4, column 'ImageID': '1/../c.png' is not a path inside the data folder"),
        ("c.png,1", "c.png,", "row 4, column 'ImageDir': the cell is empty: fill it or take the row out"),
        (",p2,", ",,", "row 4, column 'PatientID': the cell is empty"),
        (",s2,", ",,", "row 4, column 'StudyID': the cell is empty"),
        ("PatientID", "Patient", "row 1: column 'PatientID' is missing"),
        ("Labels", "Label", "row 1: column 'Labels' is missing"),
    ],
)  # fmt: skip
def test_mistakes(padchest, put, old, new, expected):
    put(NAME, TABLE.replace(old, new))
    assert f"{padchest}/{NAME}, {expected}" in refused(read_dataset, "padchest", padchest)


def test_labels_that_the_table_does_not_have(padchest):
    assert refused(read_dataset, "padchest", padchest, {"labels": ["pneumonia", "cardiomegally"]}) == (
        f"data.source_args.labels: no image of {NAME} has 'cardiomegally': correct it (nearest: cardiomegaly, normal, suboptimal study, unchanged, copd signs) "
        "or take it out"
    )
    assert refused(read_dataset, "padchest", padchest, {"labels": 3}) == (
        "data.source_args.labels = 3 is not allowed: it should be a list of names, or labels with a list of names for each"
    )
    assert refused(read_dataset, "padchest", padchest, {"labels": {"x": "nodule"}}) == (
        "data.source_args.labels.x = 'nodule' is not allowed: it should be a list"
    )


def test_a_table_whose_columns_of_0_and_1_are_metadata(shared_cases, capsys):
    dataset = read_dataset("padchest", shared_cases / "padchest_metadata", {"labels": ["nodule", "normal"]})
    images = dataset.table
    assert len(images) == 12 and images["patient_id"].nunique() == 12
    # All images are in folder 0; the table says that half of them are in folder 1.
    assert images["path"].tolist() == [f"0/{i}.png" for i in range(12)]
    assert "PADCHEST.csv: 6 of 12 images are in another folder than ImageDir says" in capsys.readouterr().out
    assert (images[["nodule", "normal"]] == 1).all(axis=None)
    assert dataset.notes == {"images_normal_with_findings": 12}


def test_images_beside_the_table(put, raw):
    put(NAME, HEADER + "".join(ROWS))
    for name in "abcde":
        put(f"{name}.png")
    assert read_dataset("padchest", raw).table["path"].tolist() == [f"{name}.png" for name in "abcde"]
