from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks import fresh_patients
from couplet.evaluation.sets import conformal_record


def calibrated() -> Any:
    """One label, one fold, 19 patients of each class, whose scores are 1/20 ... 19/20."""
    score = np.tile(np.arange(1, 20) / 20, 2)[:, None]
    truth = np.repeat([1.0, 0.0], 19)[:, None]
    patients, one = np.arange(38), np.zeros(38, dtype=np.int64)
    record = conformal_record(truth, score, patients, one, np.full(38, "AP"))
    return SimpleNamespace(conformal=record, decision=SimpleNamespace(alpha=0.1), categories=["AP"])


def fresh(truth: list[float], p: list[float], patients: list[int]) -> fresh_patients.Fresh:
    return fresh_patients.Fresh(
        truth=np.array(truth)[:, None],
        by_fold=np.array(p)[None, :, None],
        patients=np.array(patients),
        categories=np.full(len(p), "AP"),
    )


def test_coverage_by_hand() -> None:
    # P_1(p) = (1 + calibration scores at or below p) / 20 > 0.1 keeps "present": from the second score, 0.1, on.
    # Patient 0: 0.07 is missed and 0.5 kept, share 1/2; patient 1: kept. So present is covered by (1/2 + 1) / 2.
    # P_0 alike from above: kept up to 0.9. Patient 2 is missed at 0.97, patient 3 kept: 1/2.
    new = fresh([1, 1, 1, 0, 0], [0.07, 0.5, 0.3, 0.97, 0.2], [0, 0, 1, 2, 3])
    table, lowest, below = fresh_patients.coverage_table(new, calibrated(), ["Edema"])
    assert [row[:3] for row in table.rows] == [["present", "AP", 5], ["absent", "AP", 5]]
    assert [str(row[3]).split()[0] for row in table.rows] == ["0.750", "0.500"]
    assert [row[5] for row in table.rows] == ["Edema", "Edema"]
    assert lowest == 0.5
    # Beta(18, 2) of 19 patients: 95 % of runs are between 0.74 and 0.99.
    assert [row[6:] for row in table.rows] == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert below == 0


def test_what_is_far_below_the_range_is_counted() -> None:
    # Forty patients of the class, and none of their images is in the set.
    new = fresh([1.0] * 40 + [0.0] * 40, [0.01] * 80, list(range(80)))
    table, _, below = fresh_patients.coverage_table(new, calibrated(), ["Edema"])
    assert [row[6:] for row in table.rows] == [[0, 0, 1, 1], [0, 1, 0, 0]]
    assert below == 1
    assert table.caption == "Prediction sets at alpha 0.1; 100 % of cells have one class"


def test_it_is_a_study_of_patients_of_another_seed() -> None:
    from benchmarks.__main__ import DEFAULT, STUDIES

    assert "fresh_patients" in STUDIES and "fresh_patients" not in DEFAULT
    assert fresh_patients.SEED != 42
    assert fresh_patients.PATIENTS["full"] == 2_000
