from __future__ import annotations

import numpy as np
import pytest

from benchmarks import metrics
from benchmarks.harness import Samples, Section
from couplet.evaluation.jackknife import auc_estimates
from couplet.evaluation.metrics import macro_auc


@pytest.fixture(scope="module")
def section() -> Section:
    return metrics.run("tiny")


def test_we_agree_with_scikit_learn(section: Section) -> None:
    differences = [claim for claim in section.claims if "difference" in claim.what]
    assert [claim.promised for claim in differences] == ["at most 1e-12", "at most 1e-09", "at most 1e-12"]
    assert all(claim.holds for claim in differences)


def test_the_tables(section: Section) -> None:
    macro, intervals, left_out = section.tables
    assert macro.caption == "Macro-AUC of 1,200 x 14"
    assert [row[0] for row in macro.rows] == [
        "roc_auc_score, label by label",
        "roc_auc_score, one call",
        "couplet",
    ]
    # d' = 1.2 with unit noise: Phi(1.2 / sqrt 2) = 0.802 for every label.
    assert [row[3] for row in macro.rows] == pytest.approx([0.802] * 3, abs=0.01)
    assert [row[4] for row in macro.rows] == pytest.approx([0] * 3, abs=1e-12)
    assert [row[1] for row in intervals.rows] == [3, 200, 3, "all"]
    assert intervals.caption == "Intervals of 1,200 x 14, 300 patients"
    assert left_out.rows[0][1] == pytest.approx(left_out.rows[1][1], abs=1e-12)
    assert all(len(row) == len(table.columns) for table in section.tables for row in table.rows)


def test_the_jackknifes_error_is_the_bootstraps(section: Section) -> None:
    rows = section.tables[1].rows
    assert rows[3][4] == pytest.approx(rows[1][4], rel=0.15)


def test_what_is_promised(section: Section) -> None:
    assert [claim.promised for claim in section.claims] == [
        "at least 8x",
        "at most 1e-12",
        "at least 10x",
        "at most 1e-09",
        "at least 100x",
        "at least 500x",
        "at most 1e-12",
    ]


def test_unknown_labels_are_left_out_on_both_sides() -> None:
    y_true, y_score = metrics.predictions(900, unknown=0.2)
    assert 0.18 < np.isnan(y_true).mean() < 0.22
    assert metrics.scikit_learn_loop(y_true, y_score) == pytest.approx(
        macro_auc(y_true, y_score)[0], abs=1e-12
    )
    draws = np.random.default_rng(3).integers(0, 900, (4, 900))
    np.testing.assert_allclose(
        metrics.our_bootstrap(y_true, y_score, draws),
        metrics.scikit_learn_bootstrap(y_true, y_score, draws),
        rtol=0,
        atol=1e-9,
    )


def test_the_opponent_is_the_area_under_the_curve() -> None:
    # By hand: 3.5 of 4 pairs, 2 of 3 pairs once the unknown row is left out.
    y_true = np.array([[1, 1], [0, 0], [1, 0], [0, 0], [np.nan, np.nan]])
    y_score = np.array([[0.9, 0.3], [0.4, 0.2], [0.4, 0.5], [0.1, 0.1], [0.8, 0.9]])
    assert metrics.scikit_learn_loop(y_true, y_score) == pytest.approx((3.5 / 4 + 2 / 3) / 2, abs=1e-12)


def test_left_out_patients_by_hand() -> None:
    y_true, y_score = np.array([[1.0], [1], [0], [0]]), np.array([[0.9], [0.4], [0.5], [0.1]])
    patients = np.array([0, 1, 2, 3])
    found = metrics.scikit_learn_left_out(y_true, y_score, patients, patients)
    assert found.tolist() == [0.5, 1, 1, 0.5]


def test_the_jackknife_covers_what_it_is_compared_with() -> None:
    y_true, y_score = metrics.predictions(1_500)
    draws = np.random.default_rng(4).integers(0, 1_500, (300, 1_500))
    errors = auc_estimates(y_true, y_score, np.arange(1_500)).errors
    for label in (0, 13):
        one = y_true[:, [label]], y_score[:, [label]]
        assert metrics.our_bootstrap(*one, draws).std(ddof=1) == pytest.approx(errors[label], rel=0.15)


def test_predictions_are_tied_and_have_the_prevalences() -> None:
    y_true, y_score = metrics.predictions(20_000)
    np.testing.assert_allclose(y_true.mean(axis=0), metrics.PREVALENCES, atol=0.015)
    assert len(np.unique(y_score[:, 0])) < 9_500
    assert not np.isnan(y_true).any()


def test_scaled_seconds() -> None:
    assert metrics.scaled(Samples([2.0], [1.5], "r"), 250) == Samples([500.0], [375.0], "r")
