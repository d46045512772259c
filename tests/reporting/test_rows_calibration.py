"""Rows of the section `calibration`: against loops and scikit-learn, with unknown cells."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from couplet.evaluation.estimate import Source
from couplet.evaluation.multiple_tests import holm
from couplet.reporting.rows_calibration import ERROR_HAS_NONE, label_measures, means


def drawn(n: int = 400, n_labels: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    z = random.normal(-0.8, 1.2, (n, n_labels))
    truth = (random.random((n, n_labels)) < 1 / (1 + np.exp(-1.7 * z))).astype(float)
    truth[::9, 1] = np.nan
    return truth, 1 / (1 + np.exp(-z)), np.arange(n) // 3


def test_each_measure_is_the_reference_s_and_unknown_cells_take_no_part() -> None:
    truth, q, patients = drawn()
    prevalence = np.nanmean(truth, axis=0)
    for label, row in enumerate(label_measures(truth, q, patients, prevalence)):
        known = ~np.isnan(truth[:, label])
        y, p = truth[known, label], q[known, label]
        brier = brier_score_loss(y, p)
        assert row.log_loss.value == pytest.approx(log_loss(y, p))
        assert row.brier.value == pytest.approx(brier)
        assert row.skill.value == pytest.approx(1 - brier / (prevalence[label] * (1 - prevalence[label])))
        assert row.observed_over_expected.value == pytest.approx(y.sum() / p.sum())
        logits = np.log(p / (1 - p))[:, None]
        fitted = LogisticRegression(C=np.inf, tol=1e-8).fit(logits, y)
        assert row.slope.value == pytest.approx(fitted.coef_[0, 0], abs=1e-4)
        assert row.slope.low is not None and row.slope.low > 1, "the outputs are too close to the middle"
        assert row.error.reason == ERROR_HAS_NONE and row.error.value is not None and row.error.value > 0
        n_positive = len(set(patients[truth[:, label] == 1]))
        counts = {one.n_positive_patients for one in vars(row).values() if hasattr(one, "n_images")}
        assert counts == {n_positive} and row.log_loss.n_images == known.sum()


def test_a_label_of_one_class_says_why_it_has_no_slope() -> None:
    truth, q, patients = drawn(60)
    truth[:, 0] = 0
    row = label_measures(truth, q, patients, np.nanmean(truth, axis=0))[0]
    assert row.slope.text() == "undefined, no interval: one class only (few)"
    assert row.skill.value is None and row.skill.reason == "no prevalence to compare with"
    assert row.observed_over_expected.value == 0 and np.isnan(row.p_value)


def test_means_over_labels_and_labels_that_fail() -> None:
    truth, q, patients = drawn()
    p_values = np.array([0.001, np.nan, 0.04])
    found = means(truth, q, patients, p_values)
    by_label = [one.log_loss.value for one in label_measures(truth, q, patients, np.full(3, 0.3))]
    assert found.log_loss.value == pytest.approx(np.mean(np.array(by_label, float)))
    assert (found.failing, found.tested) == (2, 2)
    assert holm(p_values)[2] < 0.05
    assert means(truth, q, patients, np.array([0.02, 0.03, 0.2])).failing == 0, "Holm: 0.06 and 0.06"


def test_flags_and_files_are_on_every_estimate() -> None:
    truth, q, patients = drawn(60)
    source = (Source("a.csv", "1"),)
    row = label_measures(truth, q, patients, np.full(3, 0.3))[0].about(("selected",), source)
    estimates = [one for one in vars(row).values() if hasattr(one, "flags")]
    assert len(estimates) == 7 and all("selected" in one.flags and one.source == source for one in estimates)
