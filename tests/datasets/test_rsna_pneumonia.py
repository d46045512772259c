from __future__ import annotations

import pytest

from couplet.datasets.registry import read_dataset
from tests.support.errors import refused

BOXES, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
BOXES_TABLE = (
    "patientId,x,y,width,height,Target\n"
    "p1,,,,,0\n"
    "p2,264.0,152.0,213.0,379.0,1\n"
    "p2,562.0,152.0,256.0,453.0,1\n"
    "p3,,,,,0\n"
)
CLASSES_TABLE = (
    "patientId,class\n"
    "p1,No Lung Opacity / Not Normal\n"
    "p2,Lung Opacity\n"
    "p2,Lung Opacity\n"
    "p3,Normal\n"
)  # fmt: skip


@pytest.fixture
def rsna(put, raw):
    put(BOXES, BOXES_TABLE)
    put(CLASSES, CLASSES_TABLE)
    for name in ("p1", "p2", "p3"):
        put(f"stage_2_train_images/{name}.dcm")
    return raw


def test_a_row_per_box_becomes_a_row_per_image(rsna, capsys):
    dataset = read_dataset("rsna_pneumonia", rsna)
    images = dataset.table
    assert dataset.labels == ["Target"] and dataset.notes == {}
    assert images["image_id"].tolist() == images["patient_id"].tolist() == ["p1", "p2", "p3"]
    assert images["Target"].tolist() == [0, 1, 0]
    assert images["row"].tolist() == [2, 3, 5]
    assert images["path"].tolist() == [f"stage_2_train_images/p{i}.dcm" for i in (1, 2, 3)]
    assert set(images["part"]) == {"train"} and (images["view"] == "").all()
    assert "the test part is drawn" in capsys.readouterr().out


def test_the_detailed_classes(rsna, put):
    dataset = read_dataset("rsna_pneumonia", rsna, {"labels": "classes"})
    assert dataset.labels == ["Lung Opacity", "No Lung Opacity / Not Normal", "Normal"]
    assert dataset.table[dataset.labels].to_numpy().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert dataset.table["row"].tolist() == [2, 3, 5]
    header, *rows = CLASSES_TABLE.splitlines(keepends=True)
    put(CLASSES, header + "".join(rows[::-1]))  # the two tables need not have one order
    again = read_dataset("rsna_pneumonia", rsna, {"labels": "classes"})
    assert again.table.equals(dataset.table)


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        (BOXES, "453.0,1", "453.0,0", "row 4, column 'Target': '0', but 'p2' has '1' in an earlier row: correct one of them"),
        (BOXES, "p3,,,,,0", "p3,,,,,7", "row 5, column 'Target': '7' is not a label"),
        (BOXES, "p3,,,,,0", "p3,,,,,", "row 5, column 'Target': the cell is empty"),
        (BOXES, "p3,", ",", "row 5, column 'patientId': the cell is empty"),
        (BOXES, "p3,", "p4,", f"row 5, column 'patientId': 'p4' is not in {CLASSES}: use the tables of one release"),
        (BOXES, "Target", "target", "row 1: column 'Target' is missing"),
        (CLASSES, "Normal\n", "Norm\n", "row 2, column 'class': 'No Lung Opacity / Not Norm' is not one of "),
        (CLASSES, "p2,Lung Opacity\np3", "p2,Normal\np3", "row 4, column 'class': 'Normal', but 'p2' has 'Lung Opacity' in an"),
    ],
)  # fmt: skip
def test_mistakes(rsna, put, name, old, new, expected):
    put(name, (BOXES_TABLE if name == BOXES else CLASSES_TABLE).replace(old, new))
    assert f"{rsna}/{name}, {expected}" in refused(
        read_dataset, "rsna_pneumonia", rsna, {"labels": "classes"}
    )


def test_missing_files(rsna):
    (rsna / "stage_2_train_images/p2.dcm").unlink()
    message = refused(read_dataset, "rsna_pneumonia", rsna)
    assert message.startswith(
        f"{rsna}/{BOXES}, row 3, column 'patientId': stage_2_train_images/p2.dcm is not in {rsna}"
    )
    (rsna / CLASSES).unlink()
    assert f"{rsna}/{CLASSES} is not there" in refused(
        read_dataset, "rsna_pneumonia", rsna, {"labels": "classes"}
    )
