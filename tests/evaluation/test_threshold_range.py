from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from couplet.evaluation.calibration.beta import BetaMap, fit_beta
from couplet.evaluation.decisions import RULES, Calibrator, operating_points, values
from couplet.evaluation.refits import one_step_refit
from couplet.evaluation.threshold_range import _draws, _inverted, threshold_range
from couplet.settings.schema.decision import DecisionParams
from tests.support.predictions import drawn_predictions as drawn

DEFAULT = DecisionParams(sensitivity=0.8, specificity=0.8)


def same(scores: np.ndarray) -> np.ndarray:
    return scores


def test_a_resample_counts_a_patient_drawn_twice_as_two_patients() -> None:
    truth, p, patients = drawn(0, n=200)
    q, folds = p**2, patients % 3
    draws = _draws(patients, seed=7, resamples=40)
    rows = [np.repeat(np.arange(200), draw[patients]) for draw in draws]
    for rule in ("f1", "prevalence", "sensitivity", "specificity"):
        found = threshold_range(rule, truth, p, q, patients, folds, DEFAULT, np.square, 7, resamples=40)
        expected = []
        for draw, row in zip(draws, rows, strict=True):
            # Each copy of a patient is a patient of its own, in the patient's fold.
            copy = np.concatenate([np.arange(draw[patients[i]]) for i in range(200)])
            points = operating_points(
                truth[row], p[row], q[row], patients[row] * 50 + copy, folds[row], DEFAULT, np.square
            )
            expected.append(values(points[rule]))
        low, high = np.nanquantile(expected, (0.05, 0.95), axis=0)
        np.testing.assert_allclose((found.low, found.high), (low, high), rtol=1e-12)
        np.testing.assert_array_equal(found.reached, (~np.isnan(expected)).mean(axis=0))


def test_draws_are_of_the_patients_that_are_there_and_repeat_with_the_seed() -> None:
    draws = _draws(np.array([5, 2, 2, 9]), seed=1, resamples=100)
    assert draws.shape == (100, 10) and draws.nbytes == 1000  # a byte each: 200 MB of a million patients
    assert set(np.flatnonzero(draws.any(axis=0))) == {2, 5, 9}
    assert (draws.sum(axis=1) == 3).all()
    np.testing.assert_array_equal(draws, _draws(np.array([2, 9, 5]), seed=1, resamples=100))
    assert (draws != _draws(np.array([2, 9, 5]), seed=2, resamples=100)).any()


def test_the_range_of_youden_is_the_calibrators() -> None:
    truth, p, patients = drawn(1, n=400)
    with pytest.raises(ValueError, match="the range of 'youden' is the calibrator's: give `refit`"):
        threshold_range("youden", truth, p, p, patients, patients % 3, DEFAULT, same, 0)
    # Nothing is fitted: cost has no range, and youden's is that of the prevalence.
    args = (truth, p, p, patients, patients % 3, DEFAULT, same, 0)
    cost = threshold_range("cost", *args, refit=lambda draws: same)
    np.testing.assert_allclose((cost.low, cost.high), 0.5, atol=1e-12)
    youden = threshold_range("youden", *args, refit=lambda draws: same)
    assert (youden.low < np.nanmean(truth, axis=0)).all() and (youden.high > np.nanmean(truth, axis=0)).all()


def test_an_inverse_by_halving() -> None:
    assert _inverted(np.square, np.array([0.25, 0.0, np.nan, 2.0]))[:2] == pytest.approx([0.5, 0.0])
    halves = _inverted(lambda scores: scores * [[1.0], [0.5]], np.array([[0.25, 0.5], [0.25, 0.5]]))
    np.testing.assert_allclose(halves, [[0.25, 0.5], [0.5, 1.0]])
    assert (
        np.isnan(_inverted(np.square, np.array([np.nan]))[0])
        and _inverted(np.square, np.array([2.0]))[0] == 1
    )


def two_images_each(n_patients: int, slope: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(truth, p, patients) of one label whose true map is steep at low p and of the given slope at high p."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n_patients), 2)
    z = rng.normal(-1.0, 1.2, len(patients)) + rng.normal(0, 0.7, n_patients)[patients]
    p = expit(z / 3)
    truth = (rng.random(len(p)) < expit(3 * np.log(p) - slope * np.log1p(-p) + 0.5)).astype(float)
    return truth[:, None], p[:, None], patients


@pytest.mark.parametrize("slope", [3.0, 0.0])  # at 0 half of the resamples' maps stand at the edge b = 0
def test_one_newton_step_against_full_fits(slope: float) -> None:
    truth, p, patients = two_images_each(600, slope, seed=3)
    prior = BetaMap(3.0, slope, 0.5)
    fitted = fit_beta(p[:, 0], truth[:, 0], prior)

    def full(draw: np.ndarray) -> BetaMap:
        row = np.repeat(np.arange(1200), draw[patients])
        return fit_beta(p[row, 0], truth[row, 0], prior)

    def to_q(scores: np.ndarray) -> np.ndarray:
        return expit(fitted.logit(scores))

    def refit_in_full(draws: np.ndarray) -> Calibrator:
        maps = [full(draw) for draw in draws]
        return lambda scores: expit(np.stack([one.logit(row) for one, row in zip(maps, scores, strict=True)]))

    quick = one_step_refit([fitted], [prior], truth, p, patients)
    # Each patient once, as in the data: the map itself.
    np.testing.assert_allclose(quick(np.ones((1, 600)))(p), to_q(p), rtol=1e-5)
    if slope == 0:
        assert min(full(draw).b for draw in _draws(patients, 4, 40)) == 0
    args = (truth, p, to_q(p), patients, patients % 3, DEFAULT, to_q, 4)
    for rule in ("youden", "cost"):
        b = threshold_range(rule, *args, refit=quick)
        a = threshold_range(rule, *args, refit=refit_in_full)
        width = (a.high - a.low)[0]
        assert 0 < width < 0.25
        assert abs(a.low - b.low)[0] < 0.15 * width and abs(a.high - b.high)[0] < 0.15 * width


def test_a_label_of_one_class_keeps_its_prior_and_has_no_range_of_youden() -> None:
    truth, p, patients = np.zeros((30, 1)), np.linspace(0.1, 0.9, 30)[:, None], np.arange(30)
    prior = BetaMap(1.0, 1.0, 0.0)
    refit = one_step_refit([prior], [prior], truth, p, patients)
    np.testing.assert_allclose(refit(np.full((1, 30), 5))(p), p)
    args = (truth, p, p, patients, patients % 3, DEFAULT, same, 4)
    found = threshold_range("youden", *args, refit=refit)
    assert np.isnan(found.low[0]) and found.reached[0] == 0
    assert set(RULES) == {"youden", "f1", "cost", "prevalence", "sensitivity", "specificity"}


def test_resamples_that_are_refitted_together_are_those_refitted_one_by_one() -> None:
    truth, p, patients = two_images_each(100, slope=0.0, seed=5)
    prior = BetaMap(3.0, 0.0, 0.5)
    refit = one_step_refit([fit_beta(p[:, 0], truth[:, 0], prior)], [prior], truth, p, patients)
    draws, scores = _draws(patients, 4, 40), np.linspace(0.05, 0.95, 40)[:, None]
    one_by_one = [refit(draw[None])(score[None])[0] for draw, score in zip(draws, scores, strict=True)]
    np.testing.assert_allclose(refit(draws)(scores), one_by_one, rtol=1e-12)
