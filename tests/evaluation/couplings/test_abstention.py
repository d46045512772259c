"""Coverage at equal error: against plain loops over the cells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import t as student

from couplet.evaluation.calibration.fitting import patient_parts
from couplet.evaluation.couplings.abstention import GROUPS, coverage_gain

N, L = 300, 4


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truth with unknown cells, a better and a worse prediction of it, patients of three images."""
    random = np.random.default_rng(seed)
    truth = (random.random((N, L)) < 0.3).astype(float)
    evidence = 4 * truth - 2 + 2 * random.normal(size=(N, L))
    good, poor = expit(evidence), expit(evidence + random.normal(size=(N, L)))
    truth[random.random((N, L)) < 0.1] = np.nan
    return truth, good, poor, np.arange(N) // 3


def by_hand(truth: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The gain of a over b, cell after cell; no two cells tie."""
    curves = []
    for q in (a, b):
        cells = sorted(
            (min(p, 1 - p), (p >= 0.5) != (y == 1))
            for p, y in zip(q.ravel(), truth.ravel(), strict=True)
            if not np.isnan(y)
        )
        errors = [0]
        for _, wrong in cells:
            errors.append(errors[-1] + wrong)
        curves.append(errors)
    n = len(curves[0]) - 1
    first = 0.8 * n
    k = int(first)
    among = curves[1][k] + (first - k) * ((curves[1] + [0])[k + 1] - curves[1][k])
    share = [max(k for k in range(n + 1) if errors[k] <= among / first * k + 1e-9) / n for errors in curves]
    return share[0] - share[1]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gain_and_its_interval_by_plain_loops(seed: int) -> None:
    truth, good, poor, patients = drawn(seed)
    found = coverage_gain(truth, good, poor, patients)
    assert found.value == pytest.approx(by_hand(truth, good, poor)) and found.value > 0.03
    groups = patient_parts(patients, GROUPS)
    names = np.unique(groups)
    left = np.array([by_hand(truth[groups != g], good[groups != g], poor[groups != g]) for g in names])
    error = np.sqrt((len(names) - 1) / len(names) * ((left - left.mean()) ** 2).sum())
    reach = student.ppf(0.975, len(names) - 1) * error
    assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach))
    assert (found.n_images, found.n_patients) == (N, N // 3)
    back = coverage_gain(truth, poor, good, patients)
    assert back.value is not None and back.value < 0


def test_the_interval_holds_for_the_next_sample() -> None:
    """How often the interval of a sample has the mean over samples in it: 95 % is promised."""
    found = [coverage_gain(*drawn(100 + seed)) for seed in range(60)]
    true = np.mean([one.value for one in found if one.value is not None])
    inside = [one.low <= true <= one.high for one in found if one.low is not None and one.high is not None]
    assert len(inside) == 60 and float(np.mean(inside)) > 0.85 and 0.05 < true < 0.15


def test_what_has_no_interval() -> None:
    truth, good, _, patients = drawn(0)
    same = coverage_gain(truth, good, good, patients)
    assert same.value == 0 and same.reason == "it is the same without any one group of patients"
    nothing = coverage_gain(np.full((4, 2), np.nan), np.ones((4, 2)), np.ones((4, 2)), np.arange(4))
    assert nothing.value is None and nothing.reason == "nothing is known"
    one = coverage_gain(np.ones((3, 1)), np.ones((3, 1)), np.full((3, 1), 0.6), np.zeros(3))
    assert one.value == 0 and one.reason == "one group of patients"
