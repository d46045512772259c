"""An exact, fast bootstrap of the macro-AUC: what the jackknife's intervals are measured against.

The report needs none: leaving out each patient once is exact, draws nothing and costs a hundredth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from couplet.evaluation.metrics import checked


def bootstrap_macro_auc(y_true: np.ndarray, y_score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Macro-AUC of each of R resamples, exactly as computed on the resampled rows.

    Scores are sorted once; a resample only changes how often each row counts.

    Args:
        y_true: (N, L) of 1, 0 or NaN.
        y_score: (N, L), finite.
        weights: (R, N) how often each resample has each row, whole numbers (`resample_weights`).

    Returns:
        (R,) the mean over the labels that have both classes in the resample; NaN if none has.

    Raises:
        ValueError: as `couplet.evaluation.metrics.auc_per_label`, or weights of another shape or type.
    """
    weights = np.asarray(weights)
    if weights.ndim != 2 or weights.shape[1] != len(y_true) or weights.dtype.kind not in "ui":
        raise ValueError(
            f"weights must be whole numbers (R, {len(y_true)}), not {weights.dtype} {weights.shape}"
        )
    total, n_defined = np.zeros(len(weights)), np.zeros(len(weights), dtype=np.int64)
    for ranks in _ranks(y_true, y_score):
        auc = np.array([_weighted_auc(ranks, weight) for weight in weights])
        defined = ~np.isnan(auc)
        total[defined] += auc[defined]
        n_defined += defined
    return np.where(n_defined > 0, total / np.maximum(n_defined, 1), np.nan)


def resample_weights(draws: np.ndarray, n_rows: int, groups: np.ndarray | None = None) -> np.ndarray:
    """How often each of R resamples has each row.

    Args:
        draws: (R, M) drawn with replacement: row numbers below `n_rows`, or with `groups` numbers of patients
            in the sorted order of their names; every row of a drawn patient counts.
        n_rows: N.
        groups: (N,) patient of each row, or None.

    Returns:
        (R, N) int32.
    """
    draws = np.asarray(draws)
    unit = np.arange(n_rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_units = int(unit.max()) + 1 if len(unit) else 0
    return np.stack([np.bincount(row, minlength=n_units)[unit].astype(np.int32) for row in draws])


class _Ranks(NamedTuple):
    """One label's rows and how they stand to each other, both classes sorted by rising score."""

    positive: np.ndarray  # (m,) rows
    negative: np.ndarray  # (n,) rows
    below: np.ndarray  # (m,) negatives with a lower score than each positive
    upto: np.ndarray  # (m,) negatives with a lower or equal score


def _ranks(y_true: np.ndarray, y_score: np.ndarray) -> Iterator[_Ranks]:
    truth, score = checked(y_true, y_score)
    for truth_N, score_N in zip(truth.T, score.T, strict=True):
        positive, negative = np.flatnonzero(truth_N == 1), np.flatnonzero(truth_N == 0)
        positive = positive[np.argsort(score_N[positive], kind="stable")]
        negative = negative[np.argsort(score_N[negative], kind="stable")]
        high, low = score_N[positive], score_N[negative]
        yield _Ranks(
            positive, negative, np.searchsorted(low, high, "left"), np.searchsorted(low, high, "right")
        )


def _weighted_auc(ranks: _Ranks, weight: np.ndarray) -> float:
    """AUC of the rows repeated `weight` times each; NaN without both classes."""
    below = np.zeros(len(ranks.negative) + 1, dtype=np.int64)
    np.cumsum(weight[ranks.negative], out=below[1:])
    positives = weight[ranks.positive].astype(np.int64)
    pairs = int(positives.sum()) * int(below[-1])
    return int(positives @ (below[ranks.below] + below[ranks.upto])) / (2 * pairs) if pairs else float("nan")
