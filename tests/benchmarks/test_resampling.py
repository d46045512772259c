from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.resampling import bootstrap_macro_auc, resample_weights
from couplet.evaluation.jackknife import auc_estimates
from tests.support.delong import macro_error


def predictions(seed: int, n: int = 300, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Four labels, many ties, some unknown."""
    rng = np.random.default_rng(seed)
    y_true = (rng.random((n, 4)) < [0.1, 0.3, 0.5, 0.9]).astype(float)
    y_score = (rng.normal(size=(n, 4)) + y_true).round(decimals)
    y_true[rng.random((n, 4)) < 0.1] = np.nan
    return y_true, y_score


def test_by_hand() -> None:
    y_true, y_score = np.array([[1], [1], [0], [0]]), np.array([[0.9], [0.4], [0.5], [0.1]])
    weights = resample_weights(np.array([[0, 1, 2, 3], [0, 0, 1, 2]]), 4)
    assert bootstrap_macro_auc(y_true, y_score, weights) == pytest.approx([0.75, 2 / 3])
    assert resample_weights(np.array([[0, 0, 2]]), 3).tolist() == [[2, 0, 1]]


def test_errors_agree_with_the_bootstrap() -> None:
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(800), rng.integers(1, 5, 800))
    y_true = (rng.random((800, 3)) < [0.2, 0.4, 0.6])[groups].astype(float)
    y_score = y_true + rng.normal(size=(800, 3))[groups] + 0.5 * rng.normal(size=y_true.shape)
    draws = rng.integers(0, 800, (400, 800))
    resampled = bootstrap_macro_auc(y_true, y_score, resample_weights(draws, len(groups), groups))
    result = auc_estimates(y_true, y_score, groups)
    assert result.macro_error == pytest.approx(resampled.std(ddof=1), rel=0.12)
    assert result.macro_error == pytest.approx(macro_error(y_true, y_score, groups), rel=0.01)
    assert macro_error(y_true, y_score) < 0.8 * result.macro_error


def test_bootstrap_equals_the_plain_loop() -> None:
    y_true, y_score = predictions(8, n=120)
    draws = np.random.default_rng(8).integers(0, 120, (25, 120))
    values = bootstrap_macro_auc(y_true, y_score, resample_weights(draws, 120))
    for rows, value in zip(draws, values, strict=True):
        aucs = []
        for truth, score in zip(y_true[rows].T, y_score[rows].T, strict=True):
            known = ~np.isnan(truth)
            aucs.append(roc_auc_score(truth[known], score[known]))
        assert value == pytest.approx(np.mean(aucs), abs=1e-9)


def test_bootstrap_skips_labels_with_one_class_in_a_resample() -> None:
    y_true = np.array([[1, 1], [0, 1], [0, 0], [1, 0]])
    y_score = np.array([[0.9, 0.2], [0.1, 0.8], [0.5, 0.5], [0.3, 0.1]])
    weights = np.array([[1, 1, 0, 0], [0, 1, 2, 0], [1, 0, 0, 0]])
    # Resample 0: only label 0 has both classes (AUC 1). Resample 1: only label 1 (0.8 beats 0.5). 2: none.
    np.testing.assert_array_equal(bootstrap_macro_auc(y_true, y_score, weights), [1, 1, np.nan])


def test_weights_of_drawn_patients() -> None:
    groups = np.array(["10", "9", "10", "7"], dtype=object)
    weights = resample_weights(np.array([[0, 0, 1], [2, 2, 2]]), 4, groups)
    assert weights.tolist() == [[2, 0, 2, 1], [0, 3, 0, 0]]


def test_mistakes_are_named() -> None:
    y_true, y_score = predictions(0, n=10)
    with pytest.raises(ValueError, match="whole numbers"):
        bootstrap_macro_auc(y_true, y_score, np.ones((2, 10)))
    with pytest.raises(ValueError, match=r"\(R, 10\)"):
        bootstrap_macro_auc(y_true, y_score, np.ones((2, 9), dtype=int))
