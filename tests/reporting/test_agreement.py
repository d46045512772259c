"""Cohen's kappa with its interval, against scikit-learn and removing patients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from couplet.reporting.agreement import SAME_ANSWER, kappa_estimate


def test_against_scikit_learn_without_each_patient() -> None:
    rng = np.random.default_rng(0)
    one = rng.random((90, 3)) < 0.4
    other = np.where(rng.random((90, 3)) < 0.2, ~one, one)
    patients = rng.choice([f"p{i}" for i in range(25)], 90)
    found = kappa_estimate(one, other, patients)
    value = cohen_kappa_score(one.ravel(), other.ravel())
    assert found.value == pytest.approx(value)
    without = np.array(
        [
            cohen_kappa_score(one[patients != name].ravel(), other[patients != name].ravel())
            for name in np.unique(patients)
        ]
    )
    n = len(without)
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()) / 2
    half = (1 + value) / 2
    reach = stats.t.ppf(0.975, n - 1) * error / (half * (1 - half))
    ends = [2 / (1 + np.exp(-(np.log(half / (1 - half)) + sign * reach))) - 1 for sign in (-1, 1)]
    assert [found.low, found.high] == pytest.approx(ends)
    assert (found.n_images, found.n_patients) == (90, n)


def test_what_has_no_interval_has_a_reason() -> None:
    yes, no = np.ones((4, 2), bool), np.zeros((4, 2), bool)
    patients = np.arange(4)
    assert kappa_estimate(yes, yes, patients).text() == f"undefined, no interval: {SAME_ANSWER}"
    assert (
        kappa_estimate(yes, no, patients).reason == SAME_ANSWER
        or kappa_estimate(yes, no, patients).value == 0
    )
    mixed = np.array([[1, 0], [0, 1], [1, 1], [0, 0]]) > 0
    assert kappa_estimate(mixed, mixed, patients).reason == "the two never disagree"
    assert kappa_estimate(mixed, ~mixed, patients).reason == "the two never agree"
    rare = np.array([[1, 0], [0, 0], [0, 0], [0, 0]]) > 0
    assert kappa_estimate(rare, rare, patients).reason == "one patient has all other answers"
