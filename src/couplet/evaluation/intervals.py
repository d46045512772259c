"""How sure an AUC is: DeLong's standard errors, the macro-AUC's, and an exact, fast bootstrap.

An AUC is a mean over positives of the share of negatives below each (its placement), and a mean over
negatives of the share of positives above each. The spread of these placements is all that DeLong's variance
needs. Each row's part in it adds up over labels, so the macro-AUC's variance follows too, with the dependence
between labels (one image has them all) and, with `groups`, between the images of a patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from couplet.evaluation.metrics import checked


class AucInterval(NamedTuple):
    """An estimate with its normal interval: arrays (L,) per label, or floats for the macro-AUC.

    NaN where it cannot be computed: a label needs both classes for an AUC, two rows of each for an error.
    """

    auc: np.ndarray | float
    standard_error: np.ndarray | float
    low: np.ndarray | float
    high: np.ndarray | float


def delong_intervals(
    y_true: np.ndarray, y_score: np.ndarray, groups: np.ndarray | None = None, level: float = 0.95
) -> AucInterval:
    """AUC, standard error and interval of each label (DeLong, DeLong and Clarke-Pearson 1988).

    Args:
        y_true: (N, L) of 1, 0 or NaN.
        y_score: (N, L), finite.
        groups: (N,) patient of each row; rows of one patient are then not taken as independent
            (Obuchowski 1997). None: every row is its own group, which is DeLong's own formula.
        level: coverage of the interval auc -+ z * standard error, cut to [0, 1].

    Returns:
        Arrays (L,); a perfect AUC has standard error 0 and no width, which says that the formula is at its
        end and not that the AUC is sure.

    Raises:
        ValueError: as `couplet.evaluation.metrics.auc_per_label`, or groups of another shape.

    >>> y_true, y_score = np.array([[1], [1], [0], [0]]), np.array([[0.9], [0.4], [0.5], [0.1]])
    >>> [value.round(4).tolist() for value in delong_intervals(y_true, y_score)]
    [[0.75], [0.3536], [0.057], [1.0]]
    """
    auc, influence = _influence(y_true, y_score)
    error = np.sqrt((_sum_by_group(influence, groups) ** 2).sum(axis=0))
    return _interval(auc, error, level)


def macro_auc_interval(
    y_true: np.ndarray, y_score: np.ndarray, groups: np.ndarray | None = None, level: float = 0.95
) -> AucInterval:
    """The macro-AUC's standard error and interval, from each row's influence on it.

    A row's influence on the macro-AUC is the mean of its influences on the labels' AUCs; the variance is the
    sum of their squares, after summing within each patient. With one label it equals `delong_intervals`; it
    agrees with a bootstrap of rows (or patients) at a fraction of the cost.

    Args:
        y_true: (N, L) of 1, 0 or NaN.
        y_score: (N, L), finite.
        groups: (N,) patient of each row, or None for independent rows. Without it the interval is too narrow
            where patients have several images.
        level: coverage.

    Returns:
        Floats over the labels with both classes (as `macro_auc`); the error is NaN if one of these has a
        single positive or negative.

    Raises:
        ValueError: as `delong_intervals`.

    >>> y_true, y_score = np.array([[1], [1], [0], [0]]), np.array([[0.9], [0.4], [0.5], [0.1]])
    >>> round(macro_auc_interval(y_true, y_score).standard_error, 4)
    0.3536
    """
    auc, influence = _influence(y_true, y_score)
    used = ~np.isnan(auc)
    if not used.any():
        return AucInterval(*[float("nan")] * 4)
    macro = influence[:, used].mean(axis=1)
    error = np.sqrt((_sum_by_group(macro, groups) ** 2).sum())
    return AucInterval(*(float(value) for value in _interval(auc[used].mean(), error, level)))


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

    >>> y_true, y_score = np.array([[1], [1], [0], [0]]), np.array([[0.9], [0.4], [0.5], [0.1]])
    >>> bootstrap_macro_auc(y_true, y_score, resample_weights(np.array([[0, 1, 2, 3], [0, 0, 1, 2]]), 4))
    array([0.75      , 0.66666667])
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

    >>> resample_weights(np.array([[0, 0, 2]]), 3)
    array([[2, 0, 1]], dtype=int32)
    >>> resample_weights(np.array([[1, 1]]), 3, groups=np.array(["b", "a", "b"]))
    array([[2, 0, 2]], dtype=int32)
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


def _influence(y_true: np.ndarray, y_score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(L,) AUCs and (N, L) influences: for independent rows their squares sum to DeLong's variance."""
    n_rows, n_labels = np.shape(y_true)
    auc, influence = np.full(n_labels, np.nan), np.zeros((n_labels, n_rows))
    for label, (positive, negative, below, upto) in enumerate(_ranks(y_true, y_score)):
        m, n = len(positive), len(negative)
        if m == 0 or n == 0:
            influence[label] = np.nan
            continue
        beats = (below + upto) / (2 * n)
        # Positives above each negative: counted from where the positives fall among the negatives.
        not_above = np.cumsum(np.bincount(below, minlength=n + 1) + np.bincount(upto, minlength=n + 1))[:n]
        beaten = 1 - not_above / (2 * m)
        auc[label] = beats.mean()
        # So scaled, the squares sum to the placements' sample variance over m (over n).
        with np.errstate(invalid="ignore"):
            influence[label, positive] = (beats - auc[label]) / np.sqrt(m * (m - 1))
            influence[label, negative] = (beaten - auc[label]) / np.sqrt(n * (n - 1))
    return auc, influence.T


def _sum_by_group(influence: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Sums over the rows of each group; the rows themselves without groups."""
    if groups is None:
        return influence
    if np.shape(groups) != influence.shape[:1]:
        raise ValueError(f"groups must be ({len(influence)},), not {np.shape(groups)}")
    _, group = np.unique(groups, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return np.add.reduceat(influence[order], starts, axis=0)


def _interval(auc: np.ndarray, error: np.ndarray, level: float) -> AucInterval:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    return AucInterval(auc, error, np.clip(auc - reach, 0, 1), np.clip(auc + reach, 0, 1))


def _weighted_auc(ranks: _Ranks, weight: np.ndarray) -> float:
    """AUC of the rows repeated `weight` times each; NaN without both classes."""
    below = np.zeros(len(ranks.negative) + 1, dtype=np.int64)
    np.cumsum(weight[ranks.negative], out=below[1:])
    positives = weight[ranks.positive].astype(np.int64)
    pairs = int(positives.sum()) * int(below[-1])
    return int(positives @ (below[ranks.below] + below[ranks.upto])) / (2 * pairs) if pairs else float("nan")
