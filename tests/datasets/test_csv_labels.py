"""Which columns become labels, and what is said of those that do not."""

from __future__ import annotations

import pytest

from couplet.datasets.registry import read_dataset
from tests.support.errors import refused


@pytest.fixture
def rows(put, raw):
    """rows(header, *cells) writes labels.csv with images 0.png, 1.png ... in front of the cells of each row."""

    def write(header, *cells):
        for i in range(len(cells)):
            put(f"{i}.png")
        put("labels.csv", "\n".join([f"image,{header}", *(f"{i}.png,{row}" for i, row in enumerate(cells))]))
        return raw

    return write


def test_labels_are_named_when_they_are_read(rows, capsys):
    read_dataset("csv", rows("patient,Edema,Mass,note", "1,0,1,x", "2,1,0,y"))
    assert capsys.readouterr().out.splitlines() == [
        "labels.csv: 2 labels: Edema, Mass",
        "labels.csv: columns that are not read: note",
    ]


def test_labels_named_in_the_settings_are_said_too(rows, capsys):
    read_dataset("csv", rows("patient,Edema,fold", "1,0,1", "2,1,0"), {"label_columns": ["Edema"]})
    assert "labels.csv: 1 label: Edema\n" in capsys.readouterr().out


def test_a_thousand_labels_are_not_all_printed(rows, capsys):
    names = ",".join(f"L{i}" for i in range(1000))
    dataset = read_dataset("csv", rows(f"patient,{names}", "1" + ",0" * 1000, "2" + ",1" * 1000))
    assert len(dataset.labels) == 1000
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("labels.csv: 1000 labels: L0, L1, L2") and "L39 and 960 more" in said


@pytest.mark.parametrize(
    "name",
    [
        *("fold", "kept", "ImageDir", "img_folder", "in_path", "row_id", "PixelRepresentation_DICOM", "is_train"),
        *("isTest", "VALID", "Split", "Sex_male", "age_over_60", "ViewCode", "frontal", "height"),
        *("kfold", "cv", "batch", "set", "phase", "holdout", "hold_out", "exclude", "usable", "quality", "batch_2"),
        *("is_annotated", "annotated", "dataset", "device", "AP", "PA", "lateral", "portable", "index", "fold_a"),
    ],
)  # fmt: skip
def test_a_column_with_a_name_of_metadata_is_no_label_by_guess(rows, name):
    raw = rows(f"patient,Edema,{name}", "1,0,1", "2,1,0")
    assert refused(read_dataset, "csv", raw, {"view_column": "none", "part_column": "none"}) == (
        f"{raw}/labels.csv, row 1: column {name!r} holds labels (1, 0, -1 or nothing) but by name metadata: "
        f"name the labels in data.source_args.label_columns ([Edema, {name}] if {name!r} is one, [Edema] if not), or "
        "take the column out of the table"
    )


def test_columns_with_names_of_metadata_and_no_other(rows):
    raw = rows("patient,fold,kept", "1,0,1", "2,1,0")
    assert refused(read_dataset, "csv", raw) == (
        f"{raw}/labels.csv, row 1: columns 'fold', 'kept' hold labels (1, 0, -1 or nothing) but by name metadata: name "
        "the labels in data.source_args.label_columns ([fold, kept] if 'fold', 'kept' are some), or take the columns "
        "out of the table"
    )


def test_whoever_names_such_a_label_gets_it(rows):
    raw = rows("patient,Edema,kept", "1,0,1", "2,1,0")
    assert read_dataset("csv", raw, {"label_columns": ["Edema", "kept"]}).labels == ["Edema", "kept"]


@pytest.mark.parametrize(
    "name",
    ["Pathology", "No Finding", "Support Devices", "Pleural_Thickening", "ETT - Abnormal", "Viewable mass", "Aged",
     "Age-related", "Frontal opacity", "Male pattern", "Split pleura", "Valid findings", "Implanted device",
     "Lateral mass", "A", "Type B"],
)  # fmt: skip
def test_names_of_findings_are_not_taken_for_metadata(rows, name):
    assert read_dataset("csv", rows(f"patient,{name}", "1,0", "2,1")).labels == [name]


@pytest.mark.parametrize(
    ("header", "cells", "near"),
    [
        ("Mass", ["TRUE", "FALSE"], "column 'Mass' holds FALSE and TRUE: write 1 and 0 instead"),
        ("Mass", ["yes", "no"], "column 'Mass' holds no and yes: write 1 and 0 instead"),
        ("Mass", ["Y", ""], None),
        ("A,B", ["YES,NO", "NO,YES"], "columns 'A', 'B' hold NO and YES: write 1 and 0 instead"),
        ("A,B", ["Positive,y", "Negative,n"], "column 'A' holds Negative and Positive: write 1 and 0 instead"),
        (
            "Labels", ["\"['normal', 'nodule']\"", "['normal']"],
            "column 'Labels' holds lists of names: make a column of 1 and 0 for each name",
        ),
        (
            "Finding Labels", ["Mass|Edema", "Mass"],
            "column 'Finding Labels' holds lists of names: make a column of 1 and 0 for each name",
        ),
        (
            "diagnosis", ["sick", "well"],
            "column 'diagnosis' holds names (sick, well): make a column of 1 and 0 for each name",
        ),
        (
            "class", ["a", "b", "c", "d", "e"],
            "column 'class' holds names (a, b, c ...): make a column of 1 and 0 for each name",
        ),
    ],
)  # fmt: skip
def test_the_near_miss_is_named_where_no_column_holds_labels(rows, header, cells, near):
    raw = rows(header, *cells)
    start = f"{raw}/labels.csv, row 1: no column holds labels (1, 0, -1 or nothing)"
    remedy = f", but {near}" if near else ": name the labels in data.source_args.label_columns"
    assert refused(read_dataset, "csv", raw) == start + remedy


def test_the_only_columns_of_0_and_1_are_metadata(put, raw):
    """As in PadChest's own table, read with the images of its folder 0."""
    put(
        "PADCHEST.csv",
        ",ImageID,ImageDir,StudyID,PatientID,PixelRepresentation_DICOM,Labels\n"
        "0,0.png,0,s0,p0,0,\"['normal', 'nodule']\"\n1,1.png,1,s1,p1,0,\"['normal']\"\n",
    )
    put("0/0.png")
    put("0/1.png")
    assert refused(read_dataset, "csv", raw) == (
        f"{raw}/PADCHEST.csv, row 1: no column holds labels (1, 0, -1 or nothing), but column 'Labels' holds lists "
        "of names: make a column of 1 and 0 for each name"
    )


@pytest.mark.parametrize("class_id", ["14", "1"])
def test_one_row_per_box_and_reader(put, raw, class_id):
    """VinDr-CXR's annotations; with the class numbers 0 and 1 alone they would look like labels."""
    boxes = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
    for image in ("abc000", "abc001"):
        for reader, (name, number) in enumerate([("No finding", class_id), ("Mass", "0")]):
            boxes += f"{image},{name},{number},R{reader},,,,\n"
        put(f"train/{image}.png")
    put("train.csv", boxes)
    assert refused(read_dataset, "csv", raw) == (
        f"{raw}/train.csv, row 1: no column holds labels (1, 0, -1 or nothing), but several rows per image and names "
        "in column 'class_name': make one row per image and a column of 1 and 0 for each name, 1 where any of its rows has it"
    )


def test_true_and_false_beside_labels_are_said(rows, capsys):
    dataset = read_dataset("csv", rows("patient,Edema,Mass", "1,0,TRUE", "2,1,FALSE"))
    assert dataset.labels == ["Edema"]
    assert (
        "labels.csv: column 'Mass' holds FALSE and TRUE, which are no labels: write 1 and 0 to make them so\n"
        in capsys.readouterr().out
    )


def test_a_list_without_header_and_commas(put, raw):
    put("train_list.txt", "0.png 0 0 1\n1.png 1 0 1\n")
    assert refused(read_dataset, "csv", raw) == (
        f"{raw} has no label table; looked for labels.csv or train.csv or one *.csv with labels, found "
        "train_list.txt (save a table as CSV with a header): name it in data.source_args.table"
    )
    assert refused(read_dataset, "csv", raw, {"table": "train_list.txt"}) == (
        f"{raw}/train_list.txt, row 1: columns are separated by blanks: save the table with commas, and put a header "
        "above it"
    )
    put("labels.csv", "0.png,0,0,1\n1.png,1,0,1\n")
    assert refused(read_dataset, "csv", raw) == (
        f"{raw}/labels.csv, row 1: '0.png' is a file and no column's name: put a header above the table"
    )
