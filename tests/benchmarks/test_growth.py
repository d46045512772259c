from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import growth
from benchmarks.harness import Section
from couplet.datasets.grand_xray_slam import read
from couplet.phantom.drawing import draw_phantom
from couplet.settings.sources.grand_xray_slam import Settings


@pytest.fixture(scope="module")
def section() -> Section:
    return growth.run("tiny")


def test_two_sizes_of_each_stage(section: Section) -> None:
    assert [table.caption for table in section.tables] == ["prepare", "split_mis", "train_fold"]
    for table in section.tables:
        small, large = table.rows
        assert large[0] == 2 * small[0] > 60
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert small[4] == "" and large[4] == pytest.approx(1000 * (large[2] - small[2]) / small[0])
        # Labels: two headers less than twice as much.
        assert large[7] == pytest.approx(2 * small[7], rel=0.05)
        assert 0 < large[6] <= large[5]
    assert len(section.claims) == 6


def test_copies_are_other_patients_in_the_same_layout(tmp_path: Path) -> None:
    drawn, raw = tmp_path / "drawn", tmp_path / "raw"
    draw_phantom(drawn, n_patients=20, size=32)
    raw.mkdir()
    assert growth.copy_data(drawn, raw, copies=3) == 3 * len(read(drawn, Settings(division="auto")).table)
    once, thrice = (read(folder, Settings(division="auto")) for folder in (drawn, raw))
    assert thrice.table["image_id"].is_unique
    assert thrice.table["patient_id"].nunique() == 3 * once.table["patient_id"].nunique()
    assert thrice.table["study_id"].nunique() == 3 * once.table["study_id"].nunique()
    assert (thrice.table[once.labels].sum() == 3 * once.table[once.labels].sum()).all()
    assert thrice.submission is not None and once.submission is not None
    assert thrice.submission[: len(once.submission)] == once.submission
    name = once.table["path"][0]
    folder, image = name.split("/")
    assert (raw / folder / growth.renamed(image, 2)).samefile(drawn / name)


def test_numbers_of_patients_move_with_the_file_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/t.csv").write_text("Image_name,Patient_ID,Edema\n00000007_001_002.jpg,7,1\n")
    (tmp_path / "b").mkdir()
    assert growth.copy_table(tmp_path / "a/t.csv", tmp_path / "b/t.csv", copies=2) == 2
    with (tmp_path / "b/t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["Image_name", "Patient_ID", "Edema"],
            ["00000007_001_002.jpg", "7", "1"],
            ["01000007_001_002.jpg", "1000007", "1"],
        ]


def measured(n_images: int, labels_mb: float, **figures: float) -> Any:
    return SimpleNamespace(n_images=n_images, labels_mb=labels_mb, of=lambda stage, what: figures[what])


def test_the_verdicts_by_hand() -> None:
    sets = [measured(1000, 1, work=3, peak_mb=100), measured(4000, 4, work=6, peak_mb=105)]
    sets.append(measured(16_000, 16, work=19.2, peak_mb=132))
    assert growth.per_image_more("prepare", sets) == pytest.approx([1.0, 1.1])  # milliseconds
    seconds, memory = growth.stage_claims("prepare", sets)
    assert (seconds.measured, seconds.promised, seconds.holds) == ("1.1x", "at most 1.15x", True)
    assert (memory.measured, memory.promised, memory.holds) == ("132 MB", "at most 131 MB", False)
