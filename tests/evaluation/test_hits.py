from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtrit

from couplet.evaluation.hits import calls, patient_shares, share
from tests.support.predictions import drawn_predictions as drawn


def test_calls_against_loops() -> None:
    truth, q, _ = drawn(0)
    thresholds = np.array([0.3, 0.5, np.nan])
    found = calls(truth, q, thresholds)
    for label in range(2):
        cells = [
            (y, s >= thresholds[label]) for y, s in zip(truth[:, label], q[:, label], strict=True) if y == y
        ]
        tp, fp, fn, tn = (cells.count(kind) for kind in ((1, True), (0, True), (1, False), (0, False)))
        expected = (tp / (tp + fn), tn / (tn + fp), tp / (tp + fp), tn / (tn + fn), (tp + fp) / len(cells))
        assert [share(hits)[label] for hits in found] == pytest.approx(expected)
        assert np.nansum(found.sensitivity[:, label]) == tp
    assert all(np.isnan(hits[:, 2]).all() for hits in found)


def test_thresholds_of_rows() -> None:
    truth, q = np.ones((2, 1)), np.full((2, 1), 0.5)
    assert calls(truth, q, np.array([[0.4], [0.6]])).sensitivity.ravel().tolist() == [1, 0]


def test_unknown_cells_are_as_if_they_were_not_there() -> None:
    truth, q, patients = drawn(1)
    found = calls(truth, q, np.full(3, 0.4))
    for label in range(3):
        known = ~np.isnan(truth[:, label])
        alone = calls(truth[known][:, [label]], q[known][:, [label]], np.array([0.4]))
        for whole, part in zip(found, alone, strict=True):
            assert share(whole)[label] == share(part)[0]
            whole_shares, part_shares = (
                patient_shares(whole[:, [label]], patients),
                patient_shares(part, patients[known]),
            )
            assert np.nanmean(whole_shares) == np.nanmean(part_shares)


def test_wilson_by_patient_from_hits() -> None:
    # h = (2, 1, 0) of w = (2, 2, 1): p = 0.6, v = 0.0624, 3.846 images' worth, t = 4.303 -> [0.064, 0.971].
    hits, patients = np.array([[1.0], [1], [1], [0], [0], [np.nan]]), np.array([0, 0, 1, 1, 2, 2])
    p = share(hits)[0]
    residuals = np.bincount(patients, np.nan_to_num(hits[:, 0] - p))
    variance = 1.5 * (residuals**2).sum() / 25
    worth, t2 = p * (1 - p) / variance, stdtrit(2, 0.975) ** 2
    assert (p, variance, worth) == pytest.approx((0.6, 0.0624, 3.846), abs=5e-4)
    middle = (p + t2 / 2 / worth) / (1 + t2 / worth)
    reach = np.sqrt(t2 * (p * (1 - p) / worth + t2 / 4 / worth**2)) / (1 + t2 / worth)
    assert (middle - reach, middle + reach) == pytest.approx((0.064, 0.971), abs=5e-4)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="truth and q must have one shape"):
        calls(np.ones((2, 1)), np.ones((3, 1)), np.array([0.5]))
    for codes in (np.array([0, -1]), np.array([0.0, 1.0]), np.array([0]), np.array(["a", "b"])):
        with pytest.raises(ValueError, match="patients must be \\(2,\\) whole numbers from 0"):
            patient_shares(np.ones((2, 1)), codes)
