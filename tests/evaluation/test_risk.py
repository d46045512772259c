from __future__ import annotations

import numpy as np
import pytest

from couplet.evaluation.hits import calls, share
from couplet.evaluation.risk import (
    augrc,
    augrc_without_each_patient,
    decision_errors,
    estimated_error,
    net_benefit,
    risk_coverage,
)
from tests.support.predictions import drawn_predictions as drawn


def test_net_benefit_by_hand() -> None:
    # TP 3, FP 2, n 10, t 0.2: 0.3 - 0.2 * 0.25 = 0.25; all: 0.4 - 0.6 * 0.25 = 0.25.
    truth, q = np.array([[1]] * 4 + [[0]] * 6), np.array([[0.9]] * 3 + [[0.1]] + [[0.8]] * 2 + [[0.1]] * 4)
    rule, everyone = (share(benefit)[0] for benefit in net_benefit(truth, q, np.array([0.2])))
    assert (rule, everyone) == pytest.approx((0.25, 0.25))


def test_net_benefit_is_made_of_the_confusion_counts() -> None:
    truth, q, _ = drawn(0)
    thresholds = np.array([0.1, 0.4, np.nan])
    benefit, counts = net_benefit(truth, q, thresholds), calls(truth, q, thresholds)
    for label in range(2):
        n, odds = (~np.isnan(truth[:, label])).sum(), thresholds[label] / (1 - thresholds[label])
        tp, fp = np.nansum(counts.sensitivity[:, label]), np.nansum(1 - counts.specificity[:, label])
        assert share(benefit.rule)[label] == pytest.approx(tp / n - fp / n * odds)
        prevalence = np.nanmean(truth[:, label])
        assert share(benefit.treat_all)[label] == pytest.approx(prevalence - (1 - prevalence) * odds)
        assert np.isnan(benefit.rule[np.isnan(truth[:, label]), label]).all()
    assert np.isnan(benefit.rule[:, 2]).all()


def test_a_threshold_of_each_row() -> None:
    benefit = net_benefit(np.zeros((2, 1)), np.full((2, 1), 0.5), np.array([[0.2], [1.0]])).rule
    assert benefit[0, 0] == -0.25 and np.isnan(benefit[1, 0])


def augrc_in_loops(truth: np.ndarray, q: np.ndarray, threshold: float = 0.5) -> float:
    """Mean over kept counts, averaged over many orders of the tied cells."""
    cells = [
        (1 - s if s >= threshold else s, (s >= threshold) != (y == 1))
        for y, s in zip(truth.ravel(), q.ravel(), strict=True)
        if y == y
    ]
    total = 0.0
    for unsure, wrong in cells:
        for other, _ in cells:
            total += wrong * (other > unsure)
        ties = sum(other == unsure for other, _ in cells)
        total += wrong * (ties + 1) / 2
    return total / len(cells) ** 2


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_augrc_against_loops(threshold: float) -> None:
    truth, q, _ = drawn(1, n=80)
    assert augrc(truth, q, threshold) == pytest.approx(augrc_in_loops(truth, q, threshold), abs=1e-12)


def test_augrc_is_the_mean_of_the_running_errors() -> None:
    rng = np.random.default_rng(2)
    q = rng.random((400, 2))
    truth = (rng.random((400, 2)) < q).astype(float)
    order = np.argsort(np.minimum(q, 1 - q).ravel())
    wrong = ((q >= 0.5) != (truth == 1)).ravel()[order]
    assert augrc(truth, q) == pytest.approx(np.cumsum(wrong).mean() / 800)
    # An order that says nothing: half the error rate, exactly where all cells tie.
    assert augrc(truth, q, unsure=np.zeros_like(q)) == pytest.approx(wrong.mean() / 2, rel=2e-3)


def test_the_order_of_tied_cells_does_not_matter() -> None:
    truth, q, _ = drawn(3)
    order = np.random.default_rng(0).permutation(len(truth))
    assert augrc(truth, q) == pytest.approx(augrc(truth[order], q[order]), abs=1e-15)
    assert risk_coverage(truth, q)[7].errors == pytest.approx(risk_coverage(truth[order], q[order])[7].errors)


def test_risk_coverage_rows() -> None:
    rng = np.random.default_rng(4)
    q = rng.random((500, 2))
    truth = (rng.random((500, 2)) < q).astype(float)
    truth[:50] = np.nan
    rows = risk_coverage(truth, q)
    assert [row.coverage for row in rows] == [round(0.05 * i, 2) for i in range(21)]
    known, wrong = decision_errors(truth, q)
    order = np.argsort(np.minimum(q, 1 - q)[known])
    for row in rows[1:]:
        first = wrong[known][order][: row.kept]
        assert (row.errors, row.risk, row.generalised_risk) == pytest.approx(
            (first.sum(), first.mean(), first.sum() / 900)
        )
    assert rows[0].kept == 0 and np.isnan(rows[0].risk) and rows[0].generalised_risk == 0
    assert rows[-1].kept == 900 and rows[-1].risk == pytest.approx(wrong[known].mean())
    assert risk_coverage(truth * np.nan, q) == [] and np.isnan(augrc(truth * np.nan, q))


def test_another_threshold_keeps_by_the_error_of_its_decision() -> None:
    np.testing.assert_allclose(estimated_error(np.array([[0.1, 0.3, 0.9]]), 0.2), [[0.1, 0.7, 0.1]])
    np.testing.assert_allclose(estimated_error(np.array([[0.1, 0.3, 0.9]])), [[0.1, 0.3, 0.1]])


def test_augrc_without_each_patient_is_augrc_of_the_others() -> None:
    truth, q, patients = drawn(5)
    truth[patients == 3] = np.nan
    found = augrc_without_each_patient(truth, q, patients)
    seen = [g for g in range(60) if (~np.isnan(truth[patients == g])).any()]
    assert 3 not in seen and len(found) == len(seen)
    for patient, value in zip(seen, found, strict=True):
        others = patients != patient
        assert value == pytest.approx(augrc(truth[others], q[others]), abs=1e-12)
    assert np.isnan(augrc_without_each_patient(truth[:1], q[:1], patients[:1])).all()


def test_unknown_cells_are_as_if_they_were_not_there() -> None:
    truth, q, patients = drawn(6)
    known = ~np.isnan(truth[:, 1])
    column, alone = (truth[:, [1]], q[:, [1]]), (truth[known][:, [1]], q[known][:, [1]])
    assert augrc(*column) == augrc(*alone)
    np.testing.assert_array_equal(risk_coverage(*column)[1:], risk_coverage(*alone)[1:])
    np.testing.assert_array_equal(
        augrc_without_each_patient(*column, patients), augrc_without_each_patient(*alone, patients[known])
    )
