"""Both fits of the couplings: optimal, indifferent to the order of labels, and cross-fitted without a leak."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from couplet.evaluation.calibration.inverse import output_of, posterior_of
from couplet.evaluation.couplings.cross_fit import cross_fit
from couplet.evaluation.couplings.evidence import (
    HELP,
    HURT,
    NO_EFFECT,
    auc_difference,
    gain,
    losses,
    permuted,
    revealed_gain,
)
from couplet.evaluation.couplings.fit import fit, fit_alone, fit_label_couplings
from couplet.evaluation.couplings.matrix import halves
from couplet.evaluation.metrics import auc_per_label
from couplet.settings.params import LossParams

POSTERIOR = posterior_of(LossParams())
N, L = 900, 5


def drawn(seed: int = 0, unknown: float = 0.1, strength: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Truth (N, L) with unknown cells, labels 3 and 4 pulled by 0 and 1, and outputs of a network trained with ASL."""
    random = np.random.default_rng(seed)
    truth = (random.random((N, L)) < [0.3, 0.2, 0.1, 0.3, 0.3]).astype(float)
    log_odds = 2.5 * truth - 2 + random.normal(size=(N, L))
    log_odds[:, 3:] = random.normal(size=(N, 2)) - 1
    pull = strength * np.stack([truth[:, 0] + truth[:, 1], truth[:, 0] - truth[:, 1]], axis=1)
    truth[:, 3:] = random.random((N, 2)) < expit(log_odds[:, 3:] + pull)
    truth[random.random((N, L)) < unknown] = np.nan
    return truth, output_of(expit(log_odds), POSTERIOR, 0.2)


def objective(
    j: int, truth: np.ndarray, own: np.ndarray, y: np.ndarray, strictness: float, x: np.ndarray
) -> float:
    """The first fit's, cell by cell as the module's docstring writes it; x is b, s and the column A_ij."""
    b, s, column = x[0], x[1], x[2:]
    known = [n for n in range(len(truth)) if not np.isnan(truth[n, j])]
    total = 0.0
    for n in known:
        z = b + s * own[n, j] + sum(y[n, i] * column[i] for i in range(L) if i != j)
        total += np.log1p(np.exp(-z)) if truth[n, j] == 1 else np.log1p(np.exp(z))
    pi = np.mean([truth[n, j] for n in known])
    lam = strictness * np.sqrt(pi * (1 - pi) / len(known))
    l1 = sum(np.std([y[n, i] for n in known]) * abs(column[i]) for i in range(L) if i != j)
    return float(total / len(known) + lam * l1 + (s - 1) ** 2 / (2 * len(known) * 0.25))


@pytest.mark.parametrize("strictness", [0.5, 2.0])
def test_the_first_fit_is_the_minimum_of_what_it_says(strictness: float) -> None:
    truth, p = drawn()
    found = fit_label_couplings(truth, p, POSTERIOR, strictness)
    own = found.log_odds(p)
    y = np.where(np.isnan(truth), expit(own), truth)
    assert (found.fitted.residual <= 1e-6).all()
    for j in (0, 3):
        column = found.fitted.A[:, j]
        at = np.array([found.fitted.on_truth.intercept[j], found.fitted.on_truth.scale[j], *column])
        best = objective(j, truth, own, y, strictness, at)
        for k in range(2 + L):
            if k == 2 + j:
                continue
            for step in (-1e-3, 1e-3):
                assert objective(j, truth, own, y, strictness, at + step * (np.arange(2 + L) == k)) > best
    assert (found.fitted.A.diagonal() == 0).all()
    strong = np.abs(found.fitted.A[:2, 3:])
    assert strong.min() > 3 * np.abs(np.delete(found.fitted.A, [0, 1, 3, 4], axis=0)).max()


def test_the_second_fit_by_a_general_optimiser() -> None:
    truth, p = drawn()
    found = fit_label_couplings(truth, p, POSTERIOR, 1.0)
    own, j = found.log_odds(p), 4
    known = ~np.isnan(truth[:, j])
    message = (expit(own) @ found.fitted.A[:, j])[known]
    y, z = truth[known, j], own[known, j]

    def second(x: np.ndarray) -> float:
        logits = x[0] + x[1] * z + x[2] * message
        prior = ((x[1] - 1) ** 2 + (x[2] - 1) ** 2) / (2 * 0.25)
        return float(np.sum(np.logaddexp(0, logits) - y * logits) + prior)

    best = minimize(second, [0, 1, 1], bounds=[(None, None), (0, None), (0, None)], tol=1e-12)
    line = found.fitted.line
    assert (line.intercept[j], line.scale[j], found.fitted.kappa[j]) == pytest.approx(best.x, abs=1e-3)
    # A message that is the wrong way round is not followed: kappa is cut at 0, and the rest fitted again.
    wrong = fit(
        truth,
        own,
        np.where(np.isnan(truth), 0.5, truth),
        1 - truth.mean(where=~np.isnan(truth), axis=0) - expit(own),
        1.0,
    )
    assert (wrong.kappa >= 0).all() and (wrong.line.scale >= 0).all() and wrong.kappa.min() == 0


def test_strictness_without_end_is_calibration_alone() -> None:
    truth, p = drawn()
    found = fit_label_couplings(truth, p, POSTERIOR, 1e9)
    assert (found.fitted.A == 0).all() and (found.fitted.kappa == 1).all()
    own = found.log_odds(p)
    for j in range(L):
        known = ~np.isnan(truth[:, j])
        b, s = 0.0, 1.0
        for _ in range(60):
            q = expit(b + s * own[known, j])
            slope = [np.sum(q - truth[known, j]), np.sum((q - truth[known, j]) * own[known, j]) + 4 * (s - 1)]
            w = q * (1 - q)
            curve = [[w.sum(), w @ own[known, j]], [w @ own[known, j], w @ own[known, j] ** 2 + 4]]
            b, s = np.array([b, s]) - np.linalg.solve(curve, slope)
        assert (found.fitted.line.intercept[j], found.fitted.line.scale[j]) == pytest.approx((b, s), abs=1e-6)
    np.testing.assert_array_equal(found.refined(p), found.alone(p))
    np.testing.assert_array_equal(auc_per_label(truth, found.refined(p)), auc_per_label(truth, p))


def test_permuting_labels_permutes_everything() -> None:
    truth, p = drawn()
    order = np.array([3, 0, 4, 2, 1])
    one = fit_label_couplings(truth, p, POSTERIOR, 1.0)
    other = fit_label_couplings(truth[:, order], p[:, order], POSTERIOR, 1.0)
    np.testing.assert_allclose(other.fitted.A, one.fitted.A[np.ix_(order, order)], atol=1e-6)
    np.testing.assert_array_equal(other.fitted.A == 0, one.fitted.A[np.ix_(order, order)] == 0)
    np.testing.assert_allclose(other.refined(p[:, order]), one.refined(p)[:, order], atol=1e-6)


def test_the_same_again() -> None:
    truth, p = drawn()
    one, two = (fit_label_couplings(truth, p, POSTERIOR, 2.0) for _ in range(2))
    assert one.fitted.A.tobytes() == two.fitted.A.tobytes()
    assert one.refined(p).tobytes() == two.refined(p).tobytes()


def test_labels_of_one_class_and_constant_sources() -> None:
    truth, p = drawn()
    truth[:, 2] = 0
    truth[:, 1] = np.nan
    found = fit_label_couplings(truth, p, POSTERIOR, 0.5)
    assert (found.fitted.A[2] == 0).all() and (found.fitted.A[:, 1:3] == 0).all()
    assert found.fitted.line.scale[1:3].tolist() == [1, 1] and found.fitted.kappa[1:3].tolist() == [1, 1]
    assert np.isfinite(found.refined(p)).all()
    known = drawn()[0]
    assert fit_alone(known, found.log_odds(p)).scale.shape == (L,)


# --- cross-fitting --------------------------------------------------------------------------------------------------


def parts_of(n_folds: int) -> tuple[np.ndarray, np.ndarray]:
    patient = np.arange(N) // 3
    return patient % n_folds, patient // n_folds % 5


@pytest.mark.parametrize("n_folds", [2, 3])
def test_no_number_of_a_part_follows_from_its_labels(n_folds: int) -> None:
    truth, p = drawn()
    parts, inner = parts_of(n_folds)
    before = cross_fit(truth, p, parts, inner, POSTERIOR, 1.0)
    altered = truth.copy()
    own = parts == 0
    altered[own] = np.where(np.isnan(truth[own]), 1.0, 1 - truth[own])
    after = cross_fit(altered, p, parts, inner, POSTERIOR, 1.0)
    np.testing.assert_array_equal(before.refined[own], after.refined[own])
    assert (before.refined[~own] != after.refined[~own]).any()
    np.testing.assert_array_equal(before.without[0], after.without[0])
    assert (before.without[1] != after.without[1]).any()
    assert np.isfinite(before.refined).all() and all(np.isfinite(t).all() for t in before.without.values())
    np.testing.assert_array_equal(before.without[1][parts == 1], before.refined[parts == 1])


def test_a_row_is_refined_by_couplings_of_the_other_parts() -> None:
    truth, p = drawn()
    parts, inner = parts_of(3)
    found = cross_fit(truth, p, parts, inner, POSTERIOR, 1.0)
    others = parts != 2
    expected = fit_label_couplings(truth[others], p[others], POSTERIOR, 1.0).refined(p[parts == 2])
    np.testing.assert_array_equal(found.refined[parts == 2], expected)
    block = others & (inner == 3)
    rest = others & (inner != 3)
    expected = fit_label_couplings(truth[rest], p[rest], POSTERIOR, 1.0).refined(p[block])
    np.testing.assert_array_equal(found.without[2][block], expected)


@pytest.mark.parametrize(
    ("n", "n_labels", "loss"),
    [(4, 1, LossParams()), (6, 3, LossParams(name="bce")), (30, 5, LossParams(smoothing=0.1))],
)
def test_a_few_images_one_label_and_outputs_of_0_and_1(n: int, n_labels: int, loss: LossParams) -> None:
    random = np.random.default_rng(0)
    truth = (random.random((n, n_labels)) < 0.4).astype(float)
    if n_labels > 1:
        truth[:, 0] = np.nan
    p = random.random((n, n_labels))
    p[0, 0], p[1, 0] = 0, 1
    parts = np.arange(n) % 2
    found = cross_fit(truth, p, parts, np.arange(n) % 5, posterior_of(loss), 1.0)
    assert np.isfinite(found.refined).all() and np.isfinite(found.couplings.fitted.A).all()
    assert all(np.isfinite(table).all() for table in found.without.values())
    assert gain(truth, found.refined, found.alone, np.arange(n), parts).verdict == NO_EFFECT
    assert 0 < permuted(truth, p, parts, found.of_part, 1.0, 0, 5).p <= 1


# --- evidence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [1.5, 0.0])
def test_the_evidence_tells_couplings_from_none(strength: float) -> None:
    truth, p = drawn(unknown=0.05, strength=strength)
    parts, inner = parts_of(3)
    found = cross_fit(truth, p, parts, inner, POSTERIOR, 2.0)
    alone = np.full(p.shape, np.nan)
    for part, couplings in found.of_part.items():
        alone[parts == part] = couplings.alone(p[parts == part])
    patients = np.arange(N) // 3
    judged = gain(truth, found.refined, alone, patients, parts)
    shuffled = permuted(truth, p, parts, found.of_part, 2.0, seed=1, times=30)
    assert judged.log_loss.value == pytest.approx(shuffled.observed, abs=1e-9)
    assert judged.auc.value == pytest.approx(auc_difference(truth, found.refined, alone, parts), abs=1e-9)
    most = revealed_gain(truth, p, parts, found.of_part)
    if strength:
        assert judged.verdict == HELP and shuffled.p == 1 / 31
        assert most[0] > judged.auc.value > 0 and most[1] > judged.log_loss.value  # type: ignore[operator]
    else:
        assert judged.verdict == NO_EFFECT and shuffled.p > 0.05
        assert abs(most[1]) < 0.02
    two = halves(truth, p, found.couplings, patients % 2, 2.0)
    half = patients % 2 == 0
    own = found.couplings.log_odds(p)
    y = np.where(np.isnan(truth), expit(own), truth)
    np.testing.assert_array_equal(two[0], fit(truth[half], own[half], y[half], expit(own)[half], 2.0).A)


def test_permutations_are_drawn_from_the_seed() -> None:
    truth, p = drawn()
    parts, inner = parts_of(3)
    found = cross_fit(truth, p, parts, inner, POSTERIOR, 2.0)
    one, same, other = (permuted(truth, p, parts, found.of_part, 2.0, seed, 3).gains for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_the_verdict_needs_both_intervals() -> None:
    random = np.random.default_rng(0)
    truth = (random.random((400, 3)) < 0.3).astype(float)
    good = expit(3 * truth - 1.5 + random.normal(size=truth.shape))
    poor = expit(logit(good) * 0.3 + random.normal(size=truth.shape))
    patients = np.arange(400)
    assert gain(truth, good, poor, patients).verdict == HELP
    assert gain(truth, poor, good, patients).verdict == HURT
    assert gain(truth, good, good, patients).verdict == NO_EFFECT
    # The same ranking, another loss: no effect that both agree on.
    assert gain(truth, good, expit(logit(good) * 0.5), patients).verdict == NO_EFFECT


def test_losses_by_hand() -> None:
    truth = np.array([[1.0, np.nan], [0.0, 1.0], [np.nan, np.nan]])
    q = np.array([[0.8, 0.5], [0.1, 0.0], [0.5, 0.5]])
    found = losses(truth, q)
    assert found[0] == pytest.approx(-np.log(0.8))
    assert found[1] == pytest.approx(-np.log(0.9) - np.log(1e-12))
    assert np.isnan(found[2])
