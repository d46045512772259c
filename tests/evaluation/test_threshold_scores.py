"""Precision, recall and F1 with intervals, against the plain scores of the images that are left."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from couplet.evaluation.metrics import multilabel_scores
from couplet.evaluation.threshold_scores import threshold_estimates
from tests.support.predictions import drawn_predictions


def brute_force(
    name: str, truth: np.ndarray, prob: np.ndarray, patients: np.ndarray, top_k: int | None
) -> float:
    """Jackknife standard error from the scores without each patient."""
    without = np.array(
        [
            multilabel_scores(truth[patients != one], prob[patients != one], top_k=top_k)[name]
            for one in np.unique(patients)
        ]
    )
    n = len(without)
    return float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))


@pytest.mark.parametrize("top_k", [None, 1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_against_brute_force(seed: int, top_k: int | None) -> None:
    truth, prob, patients = drawn_predictions(seed)
    found = threshold_estimates(truth, prob, patients, top_k=top_k)
    plain = multilabel_scores(truth, prob, top_k=top_k)
    assert list(found) == list(plain) == ["cp", "cr", "cf1", "op", "or", "of1"]
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(plain[name], abs=1e-12)
        assert (estimate.n_images, estimate.n_patients) == (int((~np.isnan(truth)).any(axis=1).sum()), 60)
        assert estimate.low is not None and estimate.high is not None
        # On the logit scale the interval is symmetric: its half width is t times the error there.
        half = np.log(estimate.high / (1 - estimate.high)) - np.log(plain[name] / (1 - plain[name]))
        t = half * plain[name] * (1 - plain[name]) / brute_force(name, truth, prob, patients, top_k)
        assert t == pytest.approx(stats.t.ppf(0.975, 60 - 1), rel=1e-9)


def draw(rng: np.random.Generator, n_patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patients of 1 to 5 images that are alike, four labels of 5 to 40 %, probabilities around 0.3."""
    patients = np.repeat(np.arange(n_patients), rng.integers(1, 6, n_patients))
    latent, mood = rng.normal(size=(2, n_patients, 4))
    own, noise = rng.normal(size=(2, len(patients), 4))
    cut = stats.norm.ppf(1 - np.array([0.05, 0.1, 0.2, 0.4]))
    truth = (np.sqrt(0.8) * latent[patients] + np.sqrt(0.2) * own > cut).astype(float)
    return truth, 1 / (1 + np.exp(1.2 - 1.5 * truth - np.sqrt(0.5) * (mood[patients] + noise))), patients


def test_the_populations_scores_are_covered() -> None:
    rng = np.random.default_rng(0)
    population = multilabel_scores(*draw(rng, 50_000)[:2])
    held: dict[str, list[bool]] = {name: [] for name in population}
    for _ in range(120):
        for name, one in threshold_estimates(*draw(rng, 160)).items():
            if one.low is not None and one.high is not None:
                held[name].append(one.low <= population[name] <= one.high)
    for name, found in held.items():
        assert len(found) >= 100 and np.mean(found) >= 0.90, name


def test_what_has_no_interval_has_a_reason() -> None:
    truth = np.array([[1, 0, np.nan], [1, 0, np.nan], [0, 1, np.nan], [0, 0, np.nan]])
    prob = np.array([[0.9, 0.1, 0.5], [0.2, 0.1, 0.5], [0.1, 0.8, 0.5], [0.6, 0.2, 0.5]])
    found = threshold_estimates(truth, prob, np.arange(4))
    assert found["cr"].value == 0.75
    assert found["cr"].reason == "one patient has all of a class of 1 of 2 labels"
    assert found["or"].value == pytest.approx(2 / 3) and not found["or"].reason
    nothing = threshold_estimates(np.zeros((4, 2)), prob[:, :2], np.arange(4))
    assert nothing["cp"].value is None and nothing["cp"].reason == "no label has both classes here"
    assert nothing["op"].value is None and nothing["op"].reason == "no label has a positive here"
    alone = threshold_estimates(truth[:, :2], prob[:, :2], np.zeros(4))
    assert alone["op"].reason == "one patient has all positives"
    missed = threshold_estimates(truth[:, :2], np.zeros((4, 2)), np.arange(4))
    assert (missed["or"].value, missed["or"].reason) == (0.0, "it is at the lower end of its scale")


def test_a_wholly_unknown_row_changes_nothing() -> None:
    truth, prob, patients = drawn_predictions(3)
    more = np.vstack([truth, np.full((2, 3), np.nan)]), np.vstack([prob, np.ones((2, 3))])
    assert threshold_estimates(*more, np.append(patients, [99, 3])) == threshold_estimates(
        truth, prob, patients
    )
