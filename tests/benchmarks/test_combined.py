from __future__ import annotations

from pathlib import Path

from benchmarks import combined
from couplet.datasets.registry import read_dataset


def test_the_tables_have_so_many_rows_and_both_ways_read_all_of_them(tmp_path: Path) -> None:
    combined.write_tables(tmp_path, 301)
    members = {"nih": {}, "chexpert": {"unmentioned": "zeros"}, "slam": {"source": "grand_xray_slam"}}
    dataset = read_dataset("combined", tmp_path, {"members": members}, check_files=False)
    counts = dataset.table["source"].value_counts().to_dict()
    assert counts == {"nih": 101, "chexpert": 100, "slam": 100}
    assert dataset.table["patient_id"].nunique() == 26 + 25 + 25


def test_who_was_measured() -> None:
    section = combined.run("tiny")
    (table,) = section.tables
    assert [row[0] for row in table.rows] == list(combined.CONTENDERS)
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert all(row[2] > 0 and row[3] > 20 for row in table.rows)
    assert len(section.claims) == 1
