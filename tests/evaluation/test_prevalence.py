"""Probabilities at another prevalence, and the prevalence of images without labels: by hand, by loops, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, stdtrit
from sklearn.metrics import roc_auc_score

from couplet.evaluation.calibration.slopes import calibration_lines
from couplet.evaluation.prevalence import estimated_prevalence, moved
from tests.support.predictions import drawn_log_odds


def drawn(prevalence: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth, and x, which is N(1, 1) in positives and N(-1, 1) in negatives: log odds = logit(prevalence) + 2 x."""
    y, z = drawn_log_odds([prevalence], n, seed)
    return y[:, 0], z[:, 0] / 2


def test_bayes_rule_by_hand() -> None:
    """q = 0.8 at 0.5 are odds of 4; at a prevalence of 0.1 the odds are 4 / 9."""
    q = np.array([[0.8, 0.3, 0.3, 0.3], [0.0, 1.0, 0.3, 0.3]])
    found = moved(q, np.array([0.5, 0.4, 0.2, np.nan]), np.array([0.1, 0.4, 1.0, 0.5]))
    np.testing.assert_allclose(found[:, :2], [[4 / 13, 0.3], [0.0, 1.0]], rtol=1e-12)
    assert np.isnan(found[:, 2:]).all()


def test_where_only_the_prevalence_changed_the_moved_probabilities_are_right() -> None:
    y, x = drawn(0.1, 40_000, 1)
    q = expit(np.log(0.5 / 0.5) + 2 * x)[:, None]  # calibrated where half are positive
    after = moved(q, np.array([0.5]), np.array([0.1]))
    np.testing.assert_allclose(after[:, 0], expit(np.log(0.1 / 0.9) + 2 * x), rtol=1e-9)
    assert q.sum() / y.sum() > 2 and after.sum() / y.sum() == pytest.approx(1, abs=0.03)
    assert roc_auc_score(y, q) == roc_auc_score(y, after)
    before, moved_line = (calibration_lines(y[:, None], one, np.arange(len(y)))[0] for one in (q, after))
    assert moved_line.slope == pytest.approx(before.slope, abs=1e-6)
    assert before.intercept < -1 < moved_line.intercept == pytest.approx(0, abs=0.1)


def test_the_estimate_is_where_the_em_iteration_ends() -> None:
    _, x = drawn(0.2, 300, 2)
    q, there = expit(2 * x), 0.5
    for _ in range(3000):
        there = float(
            np.mean([one * there / 0.5 / (one * there / 0.5 + (1 - one) * (1 - there) / 0.5) for one in q])
        )
    found = estimated_prevalence(q, 0.5, np.arange(len(q)))
    assert found.value == pytest.approx(there, abs=1e-9)
    assert moved(q[:, None], np.array([0.5]), np.array([found.value])).mean() == pytest.approx(
        found.value, abs=1e-9
    )


def test_its_interval_is_the_patients_sandwich_on_the_logit_scale() -> None:
    _, x = drawn(0.3, 120, 3)
    q, patients = expit(np.log(0.2 / 0.8) + 2 * x), np.arange(120) // 3
    found = estimated_prevalence(q, 0.2, patients)
    assert found.value is not None and found.low is not None and found.high is not None
    ratio = [(one / 0.2, (1 - one) / 0.8) for one in q]
    score = [(a - b) / (found.value * a + (1 - found.value) * b) for a, b in ratio]
    by_patient = [sum(score[i : i + 3]) for i in range(0, 120, 3)]
    variance = 40 / 39 * sum(one**2 for one in by_patient) / sum(one**2 for one in score) ** 2
    reach = stdtrit(39, 0.975) * np.sqrt(variance) / (found.value * (1 - found.value))
    middle = np.log(found.value / (1 - found.value))
    assert (found.low, found.high) == pytest.approx((expit(middle - reach), expit(middle + reach)), rel=1e-9)
    assert (found.n_images, found.n_patients) == (120, 40)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        _, x = drawn(0.15, 400, 100 + seed)
        found = estimated_prevalence(expit(2 * x), 0.5, np.arange(400))
        held += found.low is not None and found.high is not None and found.low <= 0.15 <= found.high
    assert 180 <= held <= 199


@pytest.mark.parametrize(
    ("q", "prevalence", "value", "reason"),
    [
        ([], 0.5, None, "no image"),
        ([0.2, 0.3], float("nan"), None, "no prevalence to start from"),
        ([0.01, 0.02, 0.03], 0.5, 0.0, "at the end of the scale"),
        ([0.99, 0.98, 0.97], 0.5, 1.0, "at the end of the scale"),
    ],
)
def test_without_an_estimate_there_is_a_reason(
    q: list[float], prevalence: float, value: float | None, reason: str
) -> None:
    found = estimated_prevalence(np.array(q), prevalence, np.arange(len(q)))
    assert (found.value, found.reason) == (value, reason)


def test_one_patient_has_no_interval() -> None:
    found = estimated_prevalence(np.array([0.2, 0.9]), 0.5, np.array([4, 4]))
    assert found.value is not None and found.reason == "one patient"
