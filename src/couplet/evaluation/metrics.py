"""Metrics of multi-label predictions: small functions of (y_true, y_score), both (N, L).

y_true is 1, 0 or NaN for unknown; an unknown cell takes no part in any number. y_score (where there is a
threshold: y_prob) is any finite number, the higher the more likely. N images, L labels. A label whose known
cells are all positive, or all negative, has no AUC and no average precision and is in no mean over labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from couplet.evaluation.ordering import ascending, order_codes

THRESHOLD = 0.5
TOP_K = 3


def auc_per_label(y_true: np.ndarray, y_score: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each label.

    The share of (positive, negative) pairs in which the positive has the higher score, ties counting half
    (Mann-Whitney), which is the area that scikit-learn's `roc_auc_score` integrates.

    Args:
        y_true: (N, L) of 1, 0 or NaN.
        y_score: (N, L), finite.

    Returns:
        (L,) float64 in [0, 1]; NaN for a label with one class only.

    Raises:
        ValueError: shapes differ, y_true has other values, or scores are not finite (their count is named).

    >>> y_true = np.array([[1, 0], [0, 0], [1, 0], [0, np.nan]])
    >>> y_score = np.array([[0.9, 0.1], [0.4, 0.2], [0.4, 0.3], [0.1, 0.4]])
    >>> auc_per_label(y_true, y_score)
    array([0.875,   nan])
    """
    truth, score = checked(y_true, y_score)
    auc = np.full(truth.shape[1], np.nan)
    for label, (positives, negatives) in enumerate(_running_counts(truth, score)):
        if positives[-1] and negatives[-1]:
            # The trapezoids under the ROC curve, twice, in whole numbers: exact to one rounding.
            area = np.diff(positives) @ (negatives[1:] + negatives[:-1])
            auc[label] = area / (2 * positives[-1] * negatives[-1])
    return auc


def macro_auc(y_true: np.ndarray, y_score: np.ndarray) -> tuple[float, list[int]]:
    """Mean AUC over the labels that have both classes, and the indices of the labels that have not.

    Returns:
        The mean (NaN if every label is skipped) and the skipped labels' indices, rising. Raises as `auc_per_label`.

    >>> y_true = np.array([[1, 0], [0, 0], [1, 0], [0, 0]])
    >>> y_score = np.array([[0.9, 0.1], [0.4, 0.2], [0.4, 0.3], [0.1, 0.4]])
    >>> macro_auc(y_true, y_score)
    (0.875, [1])
    """
    auc = auc_per_label(y_true, y_score)
    skipped = np.flatnonzero(np.isnan(auc)).tolist()
    return (float(np.nanmean(auc)) if len(skipped) < len(auc) else float("nan")), skipped


def average_precision_per_label(y_true: np.ndarray, y_score: np.ndarray) -> np.ndarray:
    """Non-interpolated average precision of each label.

    The mean, over the positives, of the precision at the positive's own score as threshold (tied scores are
    above or below a threshold together), as scikit-learn's `average_precision_score`.

    Args:
        y_true: (N, L) of 1, 0 or NaN.
        y_score: (N, L), finite.

    Returns:
        (L,) float64 in [0, 1]; NaN for a label with one class only, where scikit-learn says 0 (no positive) or
        1 (no negative), whatever the scores are. Raises as `auc_per_label`.

    Ranked + - +: precision is 1 at the first positive and 2/3 at the second.

    >>> average_precision_per_label(np.array([[1], [0], [1]]), np.array([[0.9], [0.8], [0.2]])).round(4)
    array([0.8333])
    """
    truth, score = checked(y_true, y_score)
    average = np.full(truth.shape[1], np.nan)
    for label, (positives, negatives) in enumerate(_running_counts(truth, score)):
        if positives[-1] and negatives[-1]:
            # At or above each distinct score, taken as threshold.
            hits = positives[-1] - positives[:-1]
            false_alarms = negatives[-1] - negatives[:-1]
            average[label] = np.diff(positives) @ (hits / (hits + false_alarms)) / positives[-1]
    return average


def multilabel_scores(
    y_true: np.ndarray, y_prob: np.ndarray, threshold: float = THRESHOLD, top_k: int | None = None
) -> dict[str, float]:
    """Precision, recall and F1: per class (CP, CR, CF1) and overall (OP, OR, OF1), as in the second paper.

    A label is predicted where its probability is at least `threshold`. With N_c correct, N_p predicted and
    N_g true images of a class: CP = mean(N_c / max(N_p, 1)) and CR = mean(N_c / N_g) over the classes with
    positives and negatives; OP = sum N_c / max(sum N_p, 1) and OR = sum N_c / sum N_g over all known cells, also
    those of the other classes: a false alarm is one. Each F1 is the harmonic mean of its two, 0 if both are 0.

    Args:
        y_true: (N, L) of 1, 0 or NaN. An unknown cell is neither predicted nor true and takes no top-k place.
        y_prob: (N, L) probabilities, finite.
        threshold: smallest probability that predicts a label.
        top_k: if given, predict only the k most probable labels of an image, and only where they reach the
            threshold too; of equal probabilities the label with the lower index comes first.

    Returns:
        cp, cr, cf1, op, or, of1, each in [0, 1]; the first three are NaN where no class has both positives and
        negatives, the others where y_true has no positive.

    Raises:
        ValueError: as `auc_per_label`, or top_k below 1.

    Class 0: found; class 1: missed; class 2: no positives, one false alarm, which is in OP and in no mean.

    >>> y_true = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    >>> y_prob = np.array([[0.9, 0.2, 0.6], [0.7, 0.1, 0.3], [0.1, 0.1, 0.1]])
    >>> {name: round(value, 4) for name, value in multilabel_scores(y_true, y_prob).items()}
    {'cp': 0.5, 'cr': 0.5, 'cf1': 0.5, 'op': 0.6667, 'or': 0.6667, 'of1': 0.6667}
    >>> multilabel_scores(y_true, y_prob, top_k=1)["op"]
    1.0
    """
    truth, prob = checked(y_true, y_prob)
    predicted, true = predicted_cells(truth, prob, threshold, top_k), truth == 1
    n_correct, n_predicted, n_true = (cells.sum(axis=0) for cells in (predicted & true, predicted, true))
    cp = cr = op = or_ = float("nan")
    both = (n_true > 0) & (truth == 0).any(axis=0)
    if both.any():
        cp = float((n_correct[both] / np.maximum(n_predicted[both], 1)).mean())
        cr = float((n_correct[both] / n_true[both]).mean())
    if n_true.any():
        op = float(n_correct.sum() / max(n_predicted.sum(), 1))
        or_ = float(n_correct.sum() / n_true.sum())
    return {"cp": cp, "cr": cr, "cf1": _harmonic(cp, cr), "op": op, "or": or_, "of1": _harmonic(op, or_)}


def predicted_cells(
    truth: np.ndarray, prob: np.ndarray, threshold: float, top_k: int | None = None
) -> np.ndarray:
    """(N, L) True where a known label is predicted, as `multilabel_scores` says."""
    predicted = (prob >= threshold) & ~np.isnan(truth)
    if top_k is not None:
        predicted &= _most_probable(np.where(np.isnan(truth), -np.inf, prob), top_k)
    return predicted


def all_scores(y_true: np.ndarray, y_prob: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """The content of metrics/fold_k.json for L label names: 4 decimals, null (None) for what cannot be computed.

    Returns:
        auc_macro, map, cp, cr, cf1, op, or, of1, top3 (the last six at most three labels an image), n_images,
        labels_skipped: the names of the labels with one class only (or none: unknown throughout, as those of
        inference.unscored are here), which are not in auc_macro, map, cp, cr and cf1. Their known cells are in op, or
        and of1, which count cells of all labels together.

    Raises:
        ValueError: as `auc_per_label`, or another number of names than columns.

    >>> scores = all_scores(np.array([[1, 0], [0, 0]]), np.array([[0.8, 0.6], [0.3, 0.1]]), ["a", "b"])
    >>> scores["auc_macro"], scores["op"], scores["top3"]["op"], scores["labels_skipped"]
    (1.0, 0.5, 0.5, ['b'])
    """
    truth, prob = checked(y_true, y_prob)
    if len(labels) != truth.shape[1]:
        raise ValueError(f"{len(labels)} label names for {truth.shape[1]} columns")
    auc, skipped = macro_auc(truth, prob)
    precision = average_precision_per_label(truth, prob)
    defined = precision[~np.isnan(precision)]
    return {
        "auc_macro": _rounded(auc),
        "map": _rounded(defined.mean() if len(defined) else float("nan")),
        **{name: _rounded(value) for name, value in multilabel_scores(truth, prob).items()},
        "top3": {
            name: _rounded(value) for name, value in multilabel_scores(truth, prob, top_k=TOP_K).items()
        },
        "n_images": len(truth),
        "labels_skipped": [labels[index] for index in skipped],
    }


def checked(y_true: np.ndarray, y_score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as floating-point (N, L) arrays.

    Raises:
        ValueError: shapes differ or are not (N, L), y_true has other values than 0, 1 and NaN, or scores are
            not finite (their count is named).
    """
    truth, score = np.asarray(y_true), np.asarray(y_score)
    if truth.ndim != 2 or truth.shape != score.shape:
        raise ValueError(f"y_true and y_score must both be (N, L), not {truth.shape} and {score.shape}")
    # Booleans and whole numbers become floats; float32 stays as it is, and so do its ties.
    truth = truth if truth.dtype.kind == "f" else truth.astype(np.float64)
    score = score if score.dtype.kind == "f" else score.astype(np.float64)
    finite = np.isfinite(score)
    if not finite.all():
        raise ValueError(f"{(~finite).sum()} of {score.size} scores are not finite")
    wrong = (truth != 0) & (truth != 1) & ~np.isnan(truth)
    if wrong.any():
        raise ValueError(f"{wrong.sum()} of {truth.size} cells of y_true are not 0, 1 or NaN")
    return truth, score


def _running_counts(truth: np.ndarray, score: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positives and negatives of each label at or below each of its distinct scores, rising, from 0."""
    # The order of the score and the truth in one integer: one sort of plain numbers does for both.
    for truth_N, code_N in zip(truth.T, order_codes(score.T), strict=True):
        key = 2 * code_N + (truth_N == 1)
        if (unknown := np.isnan(truth_N)).any():
            key = key[~unknown]
        key = ascending(key)
        last = np.flatnonzero(np.append(key[1:] >> 1 != key[:-1] >> 1, np.ones(min(len(key), 1), bool)))
        positives = np.cumsum(key & 1)[last]
        yield np.append(0, positives), np.append(0, last + 1 - positives)


def _most_probable(prob: np.ndarray, k: int) -> np.ndarray:
    """(N, L) True for the k highest of each row; of equal ones the lower index first."""
    if k < 1:
        raise ValueError(f"top_k must be at least 1, not {k}")
    chosen, left, rows = np.zeros(prob.shape, dtype=bool), prob.copy(), np.arange(len(prob))
    for _ in range(min(k, prob.shape[1])):
        best = left.argmax(axis=1)  # the first of equal ones
        chosen[rows, best] = True
        left[rows, best] = -np.inf
    return chosen


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall != 0 else 0.0


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
