from __future__ import annotations

import pytest

from benchmarks import trust
from benchmarks.harness import Section


@pytest.fixture(scope="module")
def section() -> Section:
    return trust.run("tiny")


def test_both_stages_and_the_steps(section: Section) -> None:
    whole, steps = section.tables
    assert whole.caption == "900 x 14 out of fold, 300 test images"
    assert whole.columns == ["stage", "seconds", "CPU s", "peak MB"]
    assert [row[0] for row in whole.rows] == ["ensemble_predict", "report"]
    for _, seconds, cpu, peak in whole.rows:
        assert float(seconds) > 0 and float(cpu) > 0 and float(peak) > 50
    assert [row[0] for row in steps.rows] == [
        "reading tables and predictions",
        "calibrators, thresholds, sets, suspicious labels",
        "range of the headline thresholds, 200 resamples",
        "intervals of AUC",
        "scores of probabilities and sets",
        "tables of dvc plots",
        "writing what is calibrated and decided",
        "reading it",
    ]
    assert all(float(row[1]) >= 0 for row in steps.rows)


def test_what_is_promised(section: Section) -> None:
    assert [claim.promised for claim in section.claims] == ["at most 60 s", "at most 2,048 MB"] * 2
    assert trust.SCALES["full"] == trust.Scale(108_494, 20_000, 30_000, 5_500, rounds=3)
