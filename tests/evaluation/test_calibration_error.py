"""What is reported of calibrated probabilities: by hand, against scikit-learn, scipy and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import chi2
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from couplet.evaluation.calibration.beta import off_edges
from couplet.evaluation.calibration.error import (
    brier_skills,
    calibration_error,
    equal_mass_bins,
    log_losses,
    macro_parts,
    reliability_curve,
    squared_errors,
    too_few_to_judge,
)
from couplet.evaluation.calibration.slopes import calibration_lines
from couplet.evaluation.multiple_tests import holm
from couplet.evaluation.proportions import mean


def predictions(n: int = 400, seed: int = 0, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two labels of patients with one to five images, some unknown; true log odds are slope * logit q."""
    rng = np.random.default_rng(seed)
    patients = np.sort(rng.integers(0, n // 3, n)) * 10
    q = expit(rng.normal(size=(n, 2)) - [0.5, 1.5]).round(2).clip(0.01, 0.99)  # ties
    truth = (rng.random((n, 2)) < expit(slope * logit(q))).astype(float)
    truth[rng.random((n, 2)) < 0.1] = np.nan
    return truth, q, patients


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


# --- losses ---------------------------------------------------------------------------------------------------------


def test_losses_against_scikit_learn() -> None:
    truth, q, _ = predictions()
    for label in range(2):
        known = ~np.isnan(truth[:, label])
        y, p = truth[known, label], q[known, label]
        assert np.nanmean(log_losses(truth, q)[:, label]) == pytest.approx(log_loss(y, p), rel=1e-12)
        brier = np.nanmean(squared_errors(truth, q)[:, label])
        assert brier == pytest.approx(brier_score_loss(y, p), rel=1e-12)
        skill = np.nanmean(brier_skills(truth, q, np.array([0.3, 0.2]))[:, label])
        assert skill == pytest.approx(1 - brier / ([0.21, 0.16][label]), rel=1e-12)
    for cells in (log_losses(truth, q), squared_errors(truth, q)):
        np.testing.assert_array_equal(np.isnan(cells), np.isnan(truth))


def test_certain_and_wrong_is_dear_but_finite() -> None:
    found = log_losses(np.array([[1.0, 0.0, 1.0]]), np.array([[0.0, 1.0, 1.0]]))
    np.testing.assert_allclose(found, [[np.log(1e12), 25 * np.log(2), 0]], atol=1e-7)


def test_no_skill_without_a_prevalence() -> None:
    found = brier_skills(np.array([[1.0, 0.0, 1.0]]), np.full((1, 3), 0.5), np.array([0.0, 1.0, np.nan]))
    assert np.isnan(found).all()


def test_parts_of_the_macro_mean() -> None:
    truth, q, patients = predictions()
    cells = np.column_stack([log_losses(truth, q), np.full(len(q), np.nan)])
    cells[:3] = np.nan
    parts = macro_parts(cells)
    means = [np.nanmean(cells[:, label]) for label in range(2)]
    assert np.isnan(parts[:3]).all() and np.nanmean(parts) == pytest.approx(np.mean(means), rel=1e-12)
    # The variance, patient by patient and label by label.
    sums = []
    for patient in np.unique(patients[3:]):
        own = np.flatnonzero((patients == patient) & (np.arange(len(q)) >= 3))
        part = 0.0
        for label in range(2):
            n = (~np.isnan(cells[:, label])).sum()
            part += sum(cells[i, label] - means[label] for i in own if not np.isnan(cells[i, label])) / n / 2
        sums.append(part)
    g = len({patients[i] for i in range(3, len(q)) if not np.isnan(cells[i]).all()})
    error = np.sqrt(g / (g - 1) * np.sum(np.square(sums)))
    found = mean(parts, patients)
    assert found.low is not None and found.high is not None
    from scipy.stats import t

    assert (found.high - found.low) / 2 == pytest.approx(t.ppf(0.975, g - 1) * error, rel=1e-9)
    np.testing.assert_allclose(macro_parts(cells[3:, :1]), cells[3:, 0], rtol=1e-12)
    assert np.isnan(macro_parts(np.full((2, 1), np.nan))).all()


# --- calibration error and curve ------------------------------------------------------------------------------------


def test_calibration_error_by_hand() -> None:
    q, y = column(0.2, 0.2, 0.2, 0.6, 0.6, 0.6), column(0, 1, 0, 1, 1, 1)
    found = calibration_error(y, q, np.arange(6), bins=2)[0]
    # Mean residuals 0.1333 and 0.4: 0.5 (0.01778 - 0.1111) + 0.5 (0.16 - 0).
    assert found.squared == pytest.approx(0.0333, abs=5e-5) and found.bins_left_out == 0
    assert found.signed_root == pytest.approx(0.0333333**0.5, rel=1e-5)
    curve = reliability_curve(y, q, np.arange(6), bins=2)[0]
    off = [bin.observed.value - bin.predicted for bin in curve if bin.observed.value is not None]
    assert off == pytest.approx([0.1333, 0.4], abs=5e-5)
    assert np.mean(np.abs(off)) == pytest.approx(0.2667, abs=5e-5)  # plain ECE

    one = calibration_error(y, q, np.array([0, 0, 0, 1, 2, 3]), bins=2)[0]
    assert one.squared == pytest.approx(0.08) and one.bins_left_out == 1
    all_one = calibration_error(y, q, np.zeros(6, int), bins=2)[0]
    assert all_one.squared == 0 and all_one.bins_left_out == 2
    nothing = calibration_error(np.full((2, 1), np.nan), np.full((2, 1), 0.5), np.arange(2))[0]
    assert np.isnan(nothing.squared) and nothing.bins_left_out == 0


def test_none_found_is_negative() -> None:
    found = calibration_error(column(0, 1, 0, 1), column(0.5, 0.5, 0.5, 0.5), np.arange(4), bins=1)[0]
    assert found.squared == pytest.approx(-4 / 3 * 4 * 0.25 / 16) and found.signed_root < 0


def plain_error(y: np.ndarray, q: np.ndarray, patients: np.ndarray, bins: int) -> float:
    order = sorted(range(len(q)), key=lambda i: (q[i], i))
    sizes = [len(y) // bins + (number < len(y) % bins) for number in range(bins)]
    total, start = 0.0, 0
    for size in sizes:
        rows, start = order[start : start + size], start + size
        r = {i: y[i] - q[i] for i in rows}
        mean = sum(r.values()) / size
        groups = {patients[i] for i in rows}
        squares = sum(sum(r[i] - mean for i in rows if patients[i] == g) ** 2 for g in groups)
        total += size / len(y) * (mean**2 - len(groups) / (len(groups) - 1) * squares / size**2)
    return total


def test_calibration_error_against_plain_loops() -> None:
    truth, q, patients = predictions(slope=0.5)
    found = calibration_error(truth, q, patients)
    for label in range(2):
        known = ~np.isnan(truth[:, label])
        expected = plain_error(truth[known, label], q[known, label], patients[known], 10)
        assert found[label].squared == pytest.approx(expected, rel=1e-9)


def test_calibration_error_is_unbiased_where_there_is_none() -> None:
    """A patient's images share their label: the plain error is 0.05 here, that for independent rows 6e-4."""
    rng = np.random.default_rng(0)
    found, independent = [], []
    for _ in range(300):
        chance = expit(rng.normal(size=160) - 1)
        q = np.repeat(chance, 3)[:, None]
        y = np.repeat(rng.random(160) < chance, 3)[:, None].astype(float)
        found.append(calibration_error(y, q, np.repeat(np.arange(160), 3))[0].squared)
        independent.append(calibration_error(y, q, np.arange(480))[0].squared)
    error = np.std(found) / np.sqrt(300)
    assert abs(np.mean(found)) < 3 * error + 2e-4
    assert np.mean(independent) > 10 * abs(np.mean(found))


def test_bins_are_of_equal_mass_and_ties_keep_the_rows_order() -> None:
    assert [len(rows) for rows in equal_mass_bins(np.random.default_rng(0).random(23))] == [3] * 3 + [2] * 7
    assert [rows.tolist() for rows in equal_mass_bins(np.array([0.5, 0.5, 0.1, 0.5]), 2)] == [[2, 0], [1, 3]]
    assert len(equal_mass_bins(np.array([0.2, 0.1]))) == 2  # no empty bins


def test_reliability_curve() -> None:
    truth, q, patients = predictions()
    for label, curve in enumerate(reliability_curve(truth, q, patients)):
        known = ~np.isnan(truth[:, label])
        assert len(curve) == 10 and sum(one.observed.n_images for one in curve) == known.sum()
        total = sum(one.predicted * one.observed.n_images for one in curve)
        assert total == pytest.approx(q[known, label].sum())
        shares = [one.observed.value for one in curve if one.observed.value is not None]
        hits = sum(share * one.observed.n_images for share, one in zip(shares, curve, strict=True))
        assert hits == pytest.approx(np.nansum(truth[:, label]))
        assert all(one.observed.low is not None for one in curve)
        assert (np.diff([one.predicted for one in curve]) >= 0).all()


def test_too_few_to_judge() -> None:
    truth = np.full((300, 4), np.nan)
    for label, (positives, negatives) in enumerate([(100, 100), (99, 200), (200, 99), (0, 0)]):
        truth[: positives + negatives, label] = np.repeat([1, 0], [positives, negatives])
    assert too_few_to_judge(truth).tolist() == [False, True, True, True]


# --- slope and intercept --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.5])
def test_slope_and_intercept(slope: float) -> None:
    truth, q, patients = predictions(slope=slope)
    for label, line in enumerate(calibration_lines(truth, q, patients)):
        known = ~np.isnan(truth[:, label])
        y, z, who = truth[known, label], logit(q[known, label]), patients[known]
        sklearn = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(z[:, None], y)
        assert line.slope == pytest.approx(sklearn.coef_[0, 0], abs=1e-4)
        shift = brentq(lambda c, y=y, z=z: (y - expit(z + c)).sum(), -10, 10)
        assert line.intercept == pytest.approx(shift, abs=1e-6)

        # The sandwich, patient by patient.
        both = np.array([sklearn.intercept_[0], sklearn.coef_[0, 0]])
        p = expit(both[0] + both[1] * z)
        rows = np.column_stack([np.ones(len(z)), z])
        hessian = sum(p[i] * (1 - p[i]) * np.outer(rows[i], rows[i]) for i in range(len(z)))
        groups = np.unique(who)
        scores = [sum(rows[i] * (y[i] - p[i]) for i in np.flatnonzero(who == g)) for g in groups]
        meat = len(groups) / (len(groups) - 1) * sum(np.outer(s, s) for s in scores)
        covariance = np.linalg.inv(hessian) @ meat @ np.linalg.inv(hessian)
        assert line.slope_variance == pytest.approx(covariance[1, 1], rel=1e-3)
        wald = (both - [0, 1]) @ np.linalg.inv(covariance) @ (both - [0, 1])
        assert line.p_value == pytest.approx(chi2.sf(wald, 2), rel=0.02)
        assert (line.n_images, line.n_patients, line.reason) == (len(y), len(groups), "")

        p = expit(z + shift)
        pieces = [sum(y[who == g] - p[who == g]) for g in groups]
        variance = len(groups) / (len(groups) - 1) * np.sum(np.square(pieces)) / (p * (1 - p)).sum() ** 2
        assert line.intercept_variance == pytest.approx(variance, rel=1e-6)


def test_right_probabilities_pass_and_wrong_ones_fail() -> None:
    truth, q, patients = predictions(n=4000)
    assert all(line.p_value > 0.05 for line in calibration_lines(truth, q, patients))
    high = expit(logit(q) + 0.5)
    lines = calibration_lines(truth, high, patients)
    assert all(line.p_value < 1e-9 and -0.7 < line.intercept < -0.3 for line in lines)


def test_where_there_is_no_line() -> None:
    patients = np.arange(4)
    q = column(0.1, 0.2, 0.8, 0.9)
    separated = calibration_lines(column(0, 0, 1, 1), q, patients)[0]
    assert np.isnan([separated.slope, separated.p_value]).all() and np.isfinite(separated.intercept_variance)
    assert separated.reason == "a threshold separates positives from negatives"
    assert calibration_lines(column(1, 1, 0, 0), q, patients)[0].reason == separated.reason
    assert calibration_lines(column(1, 0, 0, 1), np.full((4, 1), 0.5), patients)[0].reason == separated.reason
    none = calibration_lines(column(0, 0, np.nan, 0), q, patients)[0]
    assert np.isnan([none.slope, none.intercept, none.p_value]).all() and none.reason == "one class only"
    two = calibration_lines(column(0, 1, 0, 1), q, np.array([0, 0, 1, 1]))[0]
    assert np.isfinite([two.slope, two.slope_variance]).all() and np.isnan(two.p_value)
    assert two.reason == "too few patients for an error of both"
    alone = calibration_lines(column(0, 1, 0, 1), q, np.zeros(4, int))[0]
    assert np.isfinite(alone.slope) and np.isnan([alone.slope_variance, alone.intercept_variance]).all()


def test_probabilities_of_0_and_1_are_read() -> None:
    truth = column(0, 1, 0, 1, 1, 0)
    line = calibration_lines(truth, column(0, 0.2, 0.3, 0.4, 1, 1), np.arange(6))[0]
    assert np.isfinite([line.slope, line.intercept, line.p_value]).all()


def test_certain_probabilities_do_not_end_the_fit() -> None:
    """Outputs of an overfitted network, down to 1e-68: each fit ends at its minimum or says why there is none."""
    rng = np.random.default_rng(1)
    values = [1e-68, 1e-51, 1e-12, 1e-9, 1e-3, 0.05, 0.2, 0.5, 0.9, 0.999, 1 - 2**-24, 1.0]
    n_fitted = 0
    for _ in range(300):
        n = int(rng.integers(4, 14))
        q, y, patients = rng.choice(values, (n, 1)), rng.integers(0, 2, (n, 1)) * 1.0, rng.integers(0, 6, n)
        line = calibration_lines(y, q, patients)[0]
        assert bool(line.reason) == bool(np.isnan([line.slope, line.p_value]).any())
        assert np.isnan(line.p_value) or 0 <= line.p_value <= 1
        if line.reason == "":
            n_fitted += 1
            shift = line.intercept + logit(off_edges(q))
            assert expit(shift).sum() == pytest.approx(y.sum(), abs=1e-3)
    assert n_fitted > 150


def test_holm() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, np.nan, 0.5])), [1.0, np.nan, 1.0])
    assert holm(np.array([])).tolist() == [] and np.isnan(holm(np.array([np.nan]))).all()


def test_unknown_cells_count_for_nothing() -> None:
    truth, q, patients = predictions()
    known = ~np.isnan(truth[:, 0])
    y, p, who = truth[known, :1], q[known, :1], patients[known]
    assert calibration_error(truth, q, patients)[0] == calibration_error(y, p, who)[0]
    assert reliability_curve(truth, q, patients)[0] == reliability_curve(y, p, who)[0]
    assert calibration_lines(truth, q, patients)[0] == calibration_lines(y, p, who)[0]
