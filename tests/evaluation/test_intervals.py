from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from couplet.evaluation.intervals import (
    bootstrap_macro_auc,
    delong_intervals,
    macro_auc_interval,
    resample_weights,
)
from couplet.evaluation.metrics import auc_per_label, macro_auc


def predictions(seed: int, n: int = 300, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Four labels, many ties, some unknown."""
    rng = np.random.default_rng(seed)
    y_true = (rng.random((n, 4)) < [0.1, 0.3, 0.5, 0.9]).astype(float)
    y_score = (rng.normal(size=(n, 4)) + y_true).round(decimals)
    y_true[rng.random((n, 4)) < 0.1] = np.nan
    return y_true, y_score


def plain_delong(truth: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """AUC and variance from all pairs, as DeLong et al. write them."""
    positive, negative = score[truth == 1], score[truth == 0]
    wins = np.array([[1.0 if p > q else 0.5 if p == q else 0.0 for q in negative] for p in positive])
    variance = wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)
    return wins.mean(), variance


@pytest.mark.parametrize("decimals", [0, 1, 12])
def test_delong_against_all_pairs(decimals: int) -> None:
    y_true, y_score = predictions(decimals, decimals=decimals)
    result = delong_intervals(y_true, y_score)
    for label in range(4):
        auc, variance = plain_delong(y_true[:, label], y_score[:, label])
        assert result.auc[label] == pytest.approx(auc, abs=1e-12)
        assert result.standard_error[label] == pytest.approx(np.sqrt(variance), abs=1e-12)
        assert result.low[label] == pytest.approx(max(auc - 1.959963985 * np.sqrt(variance), 0), abs=1e-9)
        assert result.high[label] == pytest.approx(min(auc + 1.959963985 * np.sqrt(variance), 1), abs=1e-9)
    np.testing.assert_allclose(result.auc, auc_per_label(y_true, y_score), rtol=0, atol=1e-12)


def test_macro_error_is_the_full_delong_covariance() -> None:
    # Complete labels with the same positives: DeLong's covariance matrix of the four AUCs, averaged.
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.3
    y_true, y_score = (
        np.repeat(truth[:, None], 4, axis=1).astype(float),
        rng.normal(size=(200, 4)) + truth[:, None],
    )
    wins = np.stack([(s[truth][:, None] > s[~truth]).astype(float) for s in y_score.T])
    covariance = np.cov(wins.mean(axis=2)) / truth.sum() + np.cov(wins.mean(axis=1)) / (~truth).sum()
    result = macro_auc_interval(y_true, y_score)
    assert result.standard_error == pytest.approx(np.sqrt(covariance.mean()), abs=1e-12)
    assert result.auc == pytest.approx(macro_auc(y_true, y_score)[0], abs=1e-12)


def test_one_label_and_groups_of_one_row_change_nothing() -> None:
    y_true, y_score = predictions(5)
    one = macro_auc_interval(y_true[:, :1], y_score[:, :1])
    assert one == pytest.approx([value[0] for value in delong_intervals(y_true[:, :1], y_score[:, :1])])
    names = np.array([f"p{i}" for i in range(len(y_true))], dtype=object)
    assert macro_auc_interval(y_true, y_score, names) == pytest.approx(macro_auc_interval(y_true, y_score))


def test_copies_in_a_group_are_no_new_evidence() -> None:
    y_true, y_score = predictions(6, n=500)
    three = np.tile(y_true, (3, 1)), np.tile(y_score, (3, 1))
    single = macro_auc_interval(y_true, y_score).standard_error
    grouped = macro_auc_interval(*three, groups=np.tile(np.arange(500), 3)).standard_error
    assert grouped == pytest.approx(single, rel=0.02)
    assert macro_auc_interval(*three).standard_error == pytest.approx(single / np.sqrt(3), rel=0.02)


def test_errors_agree_with_the_bootstrap() -> None:
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(800), rng.integers(1, 5, 800))
    y_true = (rng.random((800, 3)) < [0.2, 0.4, 0.6])[groups].astype(float)
    y_score = y_true + rng.normal(size=(800, 3))[groups] + 0.5 * rng.normal(size=y_true.shape)
    draws = rng.integers(0, 800, (400, 800))
    resampled = bootstrap_macro_auc(y_true, y_score, resample_weights(draws, len(groups), groups))
    result = macro_auc_interval(y_true, y_score, groups)
    assert result.standard_error == pytest.approx(resampled.std(ddof=1), rel=0.12)
    assert macro_auc_interval(y_true, y_score).standard_error < 0.8 * result.standard_error
    assert result.low < result.auc < result.high


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


def test_what_cannot_be_computed_is_nan() -> None:
    y_true = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]])
    y_score = np.array([[0.9, 0.1, 0.8], [0.2, 0.2, 0.7], [0.1, 0.3, 0.2], [0.3, 0.4, 0.1]])
    result = delong_intervals(y_true, y_score)
    assert np.isnan(result.auc).tolist() == [False, True, False]
    assert np.isnan(result.standard_error).tolist() == [True, True, False]  # label 0: a single positive
    assert (result.auc[2], result.standard_error[2], result.low[2], result.high[2]) == (1, 0, 1, 1)
    assert np.isnan(macro_auc_interval(y_true, y_score).standard_error)
    assert macro_auc_interval(y_true[:, 1:], y_score[:, 1:]).auc == 1
    assert np.isnan(macro_auc_interval(y_true[:, 1:2], y_score[:, 1:2])).all()


def test_mistakes_are_named() -> None:
    y_true, y_score = predictions(0, n=10)
    with pytest.raises(ValueError, match="whole numbers"):
        bootstrap_macro_auc(y_true, y_score, np.ones((2, 10)))
    with pytest.raises(ValueError, match=r"\(R, 10\)"):
        bootstrap_macro_auc(y_true, y_score, np.ones((2, 9), dtype=int))
    with pytest.raises(ValueError, match=r"groups must be \(10,\)"):
        macro_auc_interval(y_true, y_score, np.arange(9))
    with pytest.raises(ValueError, match="level"):
        delong_intervals(y_true, y_score, level=95)
    with pytest.raises(ValueError, match="not finite"):
        delong_intervals(y_true, y_score / y_score.max() + np.inf)
