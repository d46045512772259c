"""The penalised regression behind the couplings: optimal by its conditions, and the same as scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from couplet.evaluation.calibration.logistic import fit_logistic
from couplet.evaluation.couplings import lasso
from couplet.evaluation.couplings.lasso import l1_logistic


def drawn(n: int = 800, m: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    sources = random.normal(size=(m, n))
    sources[1] = 0.7 * sources[0] + 0.7 * sources[1]
    own = random.normal(size=n) * 2 - 1
    weights = np.array([0.8, -0.5, 0.05, 0.0, 0.0, 0.0])[:m]
    truth = (random.random(n) < expit(own * 0.6 - 0.5 + weights @ sources)).astype(float)
    return truth, own, sources


def gradients(truth: np.ndarray, own: np.ndarray, sources: np.ndarray, found) -> np.ndarray:  # type: ignore[no-untyped-def]
    """In plain loops over the features: the derivative of the mean loss."""
    z = found.intercept + found.scale * own + found.weights @ sources
    features = [np.ones(len(truth)), own, *sources]
    return np.array([float(np.mean((1 / (1 + np.exp(-z)) - truth) * f)) for f in features])


@pytest.mark.parametrize("penalty", [0.3, 0.05, 0.01, 1e-4])
def test_optimality_conditions(penalty: float) -> None:
    truth, own, sources = drawn()
    found = l1_logistic(truth, own, sources, penalty, precision=4 / 800, tolerance=1e-6 * penalty)
    g = gradients(truth, own, sources, found)
    assert abs(g[0]) <= 1e-6 * penalty
    assert abs(g[1] + (found.scale - 1) * 4 / 800) <= 1e-6 * penalty
    for gradient, weight in zip(g[2:], found.weights, strict=True):
        if weight:
            assert abs(gradient + penalty * np.sign(weight)) <= 1e-6 * penalty
        else:
            assert abs(gradient) <= penalty * (1 + 1e-6)
    assert found.residual <= 1e-6 * penalty
    assert (found.weights == 0).any() == (penalty > 1e-3)


@pytest.mark.parametrize("penalty", [0.05, 0.01, 0.003])
def test_equals_scikit_learn(penalty: float) -> None:
    """liblinear's L1 without a prior of the scale; own evidence is a source there, and penalised as one."""
    truth, own, sources = drawn()
    features = np.vstack([sources, own])
    model = LogisticRegression(
        l1_ratio=1,
        solver="liblinear",
        C=1 / (penalty * 800),
        tol=1e-10,
        max_iter=10_000,
        intercept_scaling=1e4,
    ).fit(features.T, truth)
    found = l1_logistic(truth, np.zeros(800), features, penalty, precision=0.0, tolerance=1e-9)
    np.testing.assert_allclose(found.weights, model.coef_[0], atol=1e-4)
    assert found.intercept == pytest.approx(float(model.intercept_[0]), abs=1e-4)


def test_a_large_penalty_leaves_the_scale_to_newton() -> None:
    truth, own, sources = drawn()
    found = l1_logistic(truth, own, sources, 1e9, precision=4 / 800, tolerance=1e-10)
    assert (found.weights == 0).all()
    b, s = 0.0, 1.0
    for _ in range(50):  # Newton by hand, in two unknowns
        p = 1 / (1 + np.exp(-(b + s * own)))
        g = np.array([np.sum(p - truth), np.sum((p - truth) * own) + 4 * (s - 1)])
        w = p * (1 - p)
        h = np.array([[w.sum(), (w * own).sum()], [(w * own).sum(), (w * own**2).sum() + 4]])
        b, s = np.array([b, s]) - np.linalg.solve(h, g)
    assert (found.intercept, found.scale) == pytest.approx((b, s), abs=1e-9)
    same, _ = fit_logistic(np.stack([np.ones(800), own]), truth, np.array([0.0, 1.0]), np.array([0.0, 4.0]))
    np.testing.assert_allclose(same, [b, s], atol=1e-6)


def test_the_scale_is_never_negative() -> None:
    truth, own, sources = drawn()
    found = l1_logistic(truth, -3 * own, sources, 0.01, precision=4 / 800, tolerance=1e-10)
    assert found.scale == 0
    assert gradients(truth, -3 * own, sources, found)[1] - 4 / 800 >= 0


def test_a_duplicated_row_equals_weight_2() -> None:
    truth, own, sources = drawn(n=300)
    twice = np.append(np.arange(300), np.arange(40))
    weights = np.ones(300)
    weights[:40] = 2
    repeated = l1_logistic(truth[twice], own[twice], sources[:, twice], 0.02, 4 / 340, 1e-11)
    weighted = l1_logistic(truth, own, sources, 0.02, 4 / 340, 1e-11, weights=weights)
    np.testing.assert_allclose(repeated.weights, weighted.weights, atol=1e-8)
    assert repeated.scale == pytest.approx(weighted.scale, abs=1e-8)


def test_sources_far_more_than_rows_allow() -> None:
    random = np.random.default_rng(1)
    truth = (random.random(60) < 0.3).astype(float)
    sources = random.normal(size=(200, 60))
    found = l1_logistic(truth, random.normal(size=60), sources, 0.02, 4 / 60, 1e-8)
    assert found.residual <= 1e-8 and 0 < (found.weights != 0).sum() < 60


@pytest.mark.parametrize("seed", [18, 27, 33])
def test_the_scale_is_not_negative_where_a_source_explains_more_than_all_of_it(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between own evidence and a source that is nearly the same, some passes end before the scale has come to 0."""
    random = np.random.default_rng(seed)
    own, noise, other = random.normal(size=(3, 600))
    source = 0.93 * own + np.sqrt(1 - 0.93**2) * noise
    truth = (random.random(600) < expit(2 * source - own - 1)).astype(float)
    arguments = (truth, own, np.stack([source, other]), 0.003, 0.0, 1e-9)
    found = l1_logistic(*arguments)
    assert found.scale == 0 and found.residual <= 1e-9
    monkeypatch.setattr(lasso, "_minimum_with_signs", lambda *args: None)
    np.testing.assert_allclose(found.weights, l1_logistic(*arguments).weights, atol=1e-8)


@pytest.mark.parametrize("seed", range(8))
def test_the_linear_system_at_the_end_gives_what_more_passes_would(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, own, sources = drawn(n=400, seed=seed)
    if seed % 2:
        sources[2] = sources[0]  # two that are the same share their weight as the passes left it
    arguments = (truth, own, sources, 0.01, 4 / 400, 1e-11)
    quick = l1_logistic(*arguments)
    monkeypatch.setattr(lasso, "_minimum_with_signs", lambda *args: None)
    slow = l1_logistic(*arguments)
    np.testing.assert_allclose(quick.weights, slow.weights, atol=1e-10)
    assert (quick.intercept, quick.scale) == pytest.approx((slow.intercept, slow.scale), abs=1e-10)
    np.testing.assert_array_equal(quick.weights == 0, slow.weights == 0)
