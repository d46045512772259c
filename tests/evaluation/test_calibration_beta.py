"""Beta calibration with a prior: against scikit-learn, scipy's optimisers, and simulated rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from couplet.evaluation.calibration.beta import BetaMap, fit_beta, off_edges
from couplet.evaluation.calibration.error import log_losses
from couplet.evaluation.calibration.fitting import OutOfFold, fit_calibrators
from couplet.evaluation.calibration.inverse import posterior_of
from couplet.evaluation.calibration.logistic import fit_logistic
from couplet.evaluation.calibration.slopes import calibration_lines
from couplet.evaluation.metrics import auc_per_label
from couplet.settings.schema.calibration import Method
from couplet.settings.schema.loss import LossParams

PRIOR = BetaMap(5.7199366, 0.33773939, 1.79999729)
IDENTITY = BetaMap(1.0, 1.0, 0.0)


def simulated(true: BetaMap, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.beta(2, 2, n)
    return p, (rng.random(n) < expit(true.logit(p))).astype(float)


def numbers(found: BetaMap) -> list[float]:
    return [found.a, found.b, found.c]


def penalised(x: np.ndarray, p: np.ndarray, y: np.ndarray, prior: BetaMap) -> float:
    """What is minimised, as the text says it."""
    a, b, c = x
    z = a * np.log(p) - b * np.log(1 - p) + c
    fit = (np.logaddexp(0, z) - y * z).sum()
    return float(fit + (a - prior.a) ** 2 / 2 + (b - prior.b) ** 2 / 2 + (c - prior.c) ** 2 / 8)


def reference(p: np.ndarray, y: np.ndarray, prior: BetaMap) -> np.ndarray:
    """The same minimum by a bounded quasi-Newton method."""
    found = minimize(
        penalised,
        [1.0, 1.0, 0.0],
        args=(p, y, prior),
        method="L-BFGS-B",
        bounds=[(0, None), (0, None), (None, None)],
        options={"ftol": 1e-15, "gtol": 1e-9},
    )
    return np.asarray(found.x)


def test_without_a_prior_it_is_logistic_regression_on_three_features() -> None:
    p, y = simulated(BetaMap(2.0, 0.7, -0.5), 2000)
    features = np.stack([np.log(p), -np.log1p(-p), np.ones(len(p))])
    sklearn = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000).fit(features.T, y)
    found, _ = fit_logistic(features, y, np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(found, sklearn.coef_[0], atol=1e-4)


@pytest.mark.parametrize("n", [5, 50, 2000])
@pytest.mark.parametrize("prior", [PRIOR, IDENTITY])
def test_with_the_prior_it_is_the_penalised_minimum(n: int, prior: BetaMap) -> None:
    p, y = simulated(BetaMap(4.0, 1.0, 1.0), n)
    np.testing.assert_allclose(numbers(fit_beta(p, y, prior)), reference(p, y, prior), atol=2e-4)


def test_simulated_rows_give_their_map_back() -> None:
    true = BetaMap(2.0, 0.7, -0.5)
    p, y = simulated(true, 100_000)
    np.testing.assert_allclose(numbers(fit_beta(p, y, IDENTITY)), numbers(true), atol=0.05)


def test_no_rows_give_the_prior() -> None:
    assert fit_beta(np.array([]), np.array([]), PRIOR) == PRIOR
    assert fit_beta(np.array([0.2, 0.9]), np.array([np.nan, np.nan]), PRIOR) == PRIOR


def falls_at(end: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose free fit has a negative a, a negative b, or both."""
    p = np.linspace(0.001, 0.999, 4000)
    chance = {
        "a": expit(-0.8 * np.log(p) - 2.0 * np.log1p(-p) - 2),
        "b": expit(2.0 * np.log(p) + 0.8 * np.log1p(-p) + 1),
        "both": 0.9 - 0.8 * p,
    }[end]
    return p, (np.random.default_rng(1).random(len(p)) < chance).astype(float)


@pytest.mark.parametrize(("end", "zero"), [("a", [0]), ("b", [1]), ("both", [0, 1])])
def test_a_negative_slope_is_refitted_without_and_not_cut(end: str, zero: list[int]) -> None:
    p, y = falls_at(end)
    features = np.stack([np.log(p), -np.log1p(-p), np.ones(len(p))])
    free, _ = fit_logistic(features, y, np.array([1.0, 1.0, 0.0]), np.array([1.0, 1.0, 0.25]))
    assert (np.flatnonzero(free[:2] < 0) == zero).all()
    found = np.array(numbers(fit_beta(p, y, IDENTITY)))
    assert (found[zero] == 0).all()
    np.testing.assert_allclose(found, reference(p, y, IDENTITY), atol=2e-4)
    cut = np.where(np.arange(3) < 2, np.maximum(free, 0), free)
    assert penalised(found, p, y, IDENTITY) < penalised(cut, p, y, IDENTITY) - 0.5


def test_separated_rows_have_an_end() -> None:
    p, y = np.array([1e-9, 0.1, 0.9, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])
    found = numbers(fit_beta(p, y, PRIOR))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, reference(off_edges(p), y, PRIOR), atol=1e-3)


def test_of_float32_only_0_and_1_are_moved() -> None:
    """To half-way between them and their neighbours, so that they stay the ends: 2^-149 is the smallest float32."""
    p = np.array([0.0, 2.0**-149, 1e-30, 1e-12, 1e-9, 1 - 2.0**-24, 1.0])
    assert (p.astype(np.float32) == p).sum() == 4 and p.astype(np.float32)[1] > 0
    expected = np.array([2.0**-150, 2.0**-149, 1e-30, 1e-12, 1e-9, 1 - 2.0**-24, 1 - 2.0**-25])
    assert (off_edges(p) == expected).all()
    assert np.isfinite(PRIOR.logit(p)).all()
    assert (np.diff(PRIOR.logit(p)) > 0).all()


def test_no_number_overtakes_another_at_the_edges() -> None:
    """Also of float64, where what is nearer to 0 or 1 than any float32 counts as 0 and 1 do."""
    p = np.array([0.0, 1e-300, 2.0**-149, 0.5, 1 - 2.0**-24, 1 - 2.0**-26, 1 - 2.0**-53, 1.0])
    z = PRIOR.logit(p)
    assert (np.diff(z) >= 0).all()
    assert z[0] == z[1] < z[2] and z[4] < z[5] == z[7]


@pytest.mark.parametrize("method", ["beta", "inverse", "none"])
def test_outputs_of_exactly_0_and_1_keep_their_places_to_the_end(method: Method) -> None:
    """From the fit to the ensemble's stretched probability, its loss and its slope."""
    rng = np.random.default_rng(8)
    p = expit(rng.normal(-2, 2, (400, 1))).astype(np.float32).astype(np.float64)
    p[:12, 0] = [0, 0, 0, 0, 1e-30, 1e-13, 1e-12, 1 - 2.0**-24, 1, 1, 1, 0.5]
    truth = (rng.random(p.shape) < p).astype(float)
    truth[[0, 8], 0] = [1, 0]  # as wrong as can be
    oof = OutOfFold(truth, p, np.arange(400))
    posterior = posterior_of(LossParams())
    (fitted,) = fit_calibrators(oof, ["Edema"], posterior, method)
    stretched = replace(fitted, kappa=1.3)
    for one in (fitted, stretched):
        q = one.ensemble_probability(p, posterior)
        assert ((q >= 0) & (q <= 1)).all()
        order = np.argsort(p[:, 0], kind="stable")
        assert (np.diff(q[order, 0]) >= 0).all()
        assert np.isfinite(log_losses(truth, q)).all()
        line = calibration_lines(truth, q, np.arange(400))[0]
        assert np.isfinite([line.slope, line.intercept]).all()
    if method == "beta":  # strictly rising
        q = fitted.probability(p, posterior)
        np.testing.assert_array_equal(auc_per_label(truth, p), auc_per_label(truth, q))


def test_the_surest_wrong_answer_costs_most() -> None:
    losses = log_losses(np.ones((1, 4)), np.array([[0.0, 1e-30, 1e-11, 0.3]]))[0]
    np.testing.assert_allclose(losses, [12 * np.log(10), 12 * np.log(10), 11 * np.log(10), -np.log(0.3)])
    losses = log_losses(np.zeros((1, 4)), np.array([[1.0, 0.999999999, 1 - 2.0**-24, 0.3]]))[0]
    np.testing.assert_allclose(
        losses, [25 * np.log(2), 25 * np.log(2), 24 * np.log(2), -np.log(0.7)], rtol=1e-6
    )


def test_auc_stays_as_it_is() -> None:
    rng = np.random.default_rng(3)
    score = rng.normal(size=(3000, 5)) * [1, 3, 6, 1, 1] - [0, 5, 12, 0, 0]
    p = expit(score).astype(np.float32).astype(np.float64)
    p[:, 3] = p[:, 3].round(2)  # ties
    p[:5, 4], p[5:9, 4] = 0, 1
    y = (rng.random(p.shape) < 0.02 + 0.5 * p).astype(float)
    y[rng.random(p.shape) < 0.1] = np.nan
    maps = [fit_beta(p[:, label], y[:, label], PRIOR) for label in range(5)]
    assert all(one.a > 0 for one in maps)
    q = np.stack([expit(one.logit(p[:, label])) for label, one in enumerate(maps)], axis=1)
    assert not np.array_equal(p, q)
    np.testing.assert_array_equal(auc_per_label(y, p), auc_per_label(y, q))


def test_unknown_rows_count_for_nothing() -> None:
    p, y = simulated(IDENTITY, 300)
    holes = np.arange(300) % 3 == 0
    assert fit_beta(p, np.where(holes, np.nan, y), PRIOR) == fit_beta(p[~holes], y[~holes], PRIOR)


def test_what_is_written_has_nine_digits() -> None:
    assert BetaMap(1 / 3, 2e-7 / 3, -1e4 / 3).rounded() == BetaMap(0.333333333, 6.66666667e-8, -3333.33333)
