from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import prepare
from benchmarks.harness import Section


@pytest.fixture(scope="module")
def section() -> Section:
    return prepare.run("tiny")


def test_both_give_the_same_pictures(section: Section) -> None:
    rows = {row[0]: row[1:] for row in section.tables[1].rows}
    assert rows["1024 px PNG"] == [0, 0, 0]
    # Decoded at half scale: not the same, but the same for a JPEG whose three channels are equal.
    assert rows["large JPEG, grey"] == rows["large JPEG, stored as RGB"]
    assert 0 < rows["large JPEG, grey"][0] <= 3
    assert section.claims[2].holds


def test_every_kind_of_file_is_measured(section: Section) -> None:
    speed, pixels, parts = section.tables
    assert [row[:3] for row in speed.rows] == [
        ["large JPEG, grey", "decode", 4],
        ["large JPEG, grey", "1 worker", 4],
        ["large JPEG, grey", "2 workers", 4],
        ["large JPEG, stored as RGB", "decode", 4],
        ["large JPEG, stored as RGB", "1 worker", 4],
        ["large JPEG, stored as RGB", "2 workers", 4],
        ["1024 px PNG", "decode", 4],
        ["1024 px PNG", "1 worker", 4],
        ["1024 px PNG", "2 workers", 4],
    ]
    assert all(len(row) == len(table.columns) for table in section.tables for row in table.rows)
    assert [row[0] for row in pixels.rows] == ["large JPEG, grey", "large JPEG, stored as RGB", "1024 px PNG"]
    assert [row[2] for row in parts.rows] == pytest.approx([sum(row[3:7]) for row in parts.rows])
    assert parts.rows[0][0] < parts.rows[1][0] < parts.rows[2][0]  # grain takes bits


def test_one_and_two_workers_store_the_same(tmp_path: Path) -> None:
    for grey in (10, 200):
        Image.new("RGB", (8, 4), (grey, grey, grey)).save(tmp_path / f"{grey}.png")
    images = prepare.inventory(tmp_path)
    one, two = (prepare.pack(tmp_path, workers, images, 2) for workers in (1, 2))
    assert one.tolist() == np.full((2, 1, 2, 2), [[[[10]]], [[[200]]]]).tolist()
    assert np.array_equal(one, two)


def test_the_loop_of_a_user(tmp_path: Path) -> None:
    Image.new("RGB", (8, 4), (255, 0, 30)).save(tmp_path / "0.png")
    prepare.pil_one(tmp_path / "0.png", tmp_path, 2)
    assert np.load(tmp_path / "0.npy").tolist() == [[[255, 0, 30]] * 2] * 2


def test_without_real_data_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(prepare, "ORIGINALS", tmp_path / "nowhere")
    section = prepare.run("full")
    assert section.tables == [] and "Not measured" in section.notes[0]
