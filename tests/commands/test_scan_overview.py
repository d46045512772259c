from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from couplet.commands.scan_overview import overview
from couplet.commands.scan_page import overview_page
from couplet.datasets.inventory import scan
from couplet.datasets.registry import read_dataset
from couplet.settings.schema.data import DataParams

TABLE = """image,patient,study,view,part,Edema,Mass
a.png,p1,s1,PA,train,1,0
b.png,p1,s1,Lateral,train,1,-1
c.png,p1,s2,PA,train,0,
d.JPG,p4,s9,PA,train,0,0
e.png,p2,s1,,test,1,
f.png,p3,,,test,0,
"""
SIZES = {"a.png": 3000, "b.png": 3000, "c.png": 500, "d.JPG": 4000, "e.png": 0, "f.png": 5000}


@pytest.fixture
def put(raw):
    """put(path, text) writes a file into the raw folder."""

    def write(path: str, text: str = "") -> None:
        (raw / path).parent.mkdir(parents=True, exist_ok=True)
        (raw / path).write_text(text)

    return write


@pytest.fixture
def found(raw, put):
    put("labels.csv", TABLE)
    for name, size in SIZES.items():
        path = raw / "images" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((b"same" if name in "a.png b.png" else name.encode()[:4]).ljust(size, b"\0")[:size])
    dataset = read_dataset("csv", raw)
    nobody = dataset.table["image_id"] == "d.JPG"
    table = dataset.table.assign(
        **{name: dataset.table[name].mask(nobody, "") for name in ("patient_id", "study_id")}
    )
    return overview(
        replace(dataset, table=table), scan("csv", raw), DataParams(source="csv", unmentioned="zeros")
    )


def test_parts_views_and_labels(found):
    assert found.parts.loc["train"].tolist() == [4, 2, 3]  # d is a patient and a study of its own
    assert found.parts.loc["test"].tolist() == [2, 2, 2]
    assert found.views.to_dict() == {"PA": 3, "unknown": 2, "Lateral": 1}
    # Mass: -1 stays unknown, blank is 0 as data.unmentioned says; but not in test rows that are blank throughout.
    assert found.labels.loc["Mass"].tolist() == [0, 3, 1, 0, 0]
    assert found.labels.loc["Edema"].tolist() == [2, 2, 0, 0.5, 1]
    np.testing.assert_array_equal(found.truth, [[1, 0], [1, np.nan], [0, 0], [0, 0]])


def test_what_asks_for_a_look(found):
    assert found.endings.to_dict() == {".png": 5, ".jpg": 1}
    # Of 0, 500, 3000, 3000, 4000, 5000: the lower of two.
    assert found.sizes.tolist() == [
        0,
        500,
        3000,
        3000,
        5000,
    ]
    assert found.notes == {
        "empty_files": 1,
        "files_below_2000_bytes": 1,
        "images_with_identical_files": 2,
        "training_images_without_patient": 1,
    }


def test_the_lines(found):
    lines = list(found.lines())
    assert lines[0] == "train: 4 images, 2 patients, 3 studies"
    assert lines[3] == "files: .png 5, .jpg 1; 0 to 5 kB, median 3"
    assert lines[5] == "Edema         2         2         0  50.0%      1"
    assert lines[-1] == "training images without patient: 1"
    assert max(map(len, lines)) <= 100


def test_hidden_test_labels_are_not_zero(raw, put):
    put("labels.csv", TABLE.replace("test,1,", "test,,").replace("test,0,", "test,,"))
    for name in SIZES:
        put(f"images/{name}")
    hidden = overview(read_dataset("csv", raw), scan("csv", raw), DataParams(source="csv"))
    assert hidden.labels["positives_test"].isna().all()
    assert next(line for line in hidden.lines() if line.startswith("Edema")).endswith("      -")


def test_many_labels_are_cut_in_text_and_pictures(found):
    names = [f"label {i}" for i in range(45)]
    table = pd.concat([found.labels.iloc[:1]] * 45).set_axis(names)
    table["positives"] = range(45)
    many = type(found)(**{**vars(found), "labels": table, "truth": np.zeros((4, 45))})
    assert "... and 5 more labels" in list(many.lines())
    page = overview_page(many)
    assert "leave out the 5 labels with fewest positives" in page and "label 0</th>" in page


def test_the_page_needs_nothing_else_and_repeats_its_bytes(found):
    page = overview_page(found)
    assert page == overview_page(found)
    assert "http" not in page and "<script" not in page
    assert page.count("data:image/png;base64,") == 2
    assert '<td class="n">50.0%</td>' in page
