"""Precision, recall and F1 of both papers' protocol with intervals by patient: one patient left out at a time.

N images, L labels, G patients; an unknown cell (NaN) takes part in nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from couplet.evaluation.estimate import LEVEL, Estimate
from couplet.evaluation.jackknife import METHOD, on_logit_scale
from couplet.evaluation.leave_one_out import by_image, influence
from couplet.evaluation.metrics import THRESHOLD, checked, predicted_cells
from couplet.evaluation.ordering import codes, n_different


class _Ratio(NamedTuple):
    """A share, and what it is without each patient."""

    value: float
    without: np.ndarray  # (G,)


class _Counts(NamedTuple):
    """Cells by patient, (G,) each, of one label or of all together."""

    correct: np.ndarray
    predicted: np.ndarray
    true: np.ndarray

    def precision(self) -> _Ratio:
        predicted = self.predicted.sum()
        without = (self.correct.sum() - self.correct) / np.maximum(predicted - self.predicted, 1)
        return _Ratio(float(self.correct.sum() / max(predicted, 1)), without)

    def recall(self) -> _Ratio:
        left = self.true.sum() - self.true
        without = np.where(left > 0, (self.correct.sum() - self.correct) / np.maximum(left, 1), np.nan)
        return _Ratio(float(self.correct.sum() / self.true.sum()), without)


def threshold_estimates(
    y_true: np.ndarray,
    y_prob: np.ndarray,
    patients: np.ndarray,
    threshold: float = THRESHOLD,
    top_k: int | None = None,
    level: float = LEVEL,
) -> dict[str, Estimate]:
    """cp, cr, cf1, op, or and of1 (`couplet.evaluation.metrics.multilabel_scores`), each with its interval.

    Args:
        y_true: (N, L) of 1, 0 or NaN.
        y_prob: (N, L) probabilities, finite.
        patients: (N,) patient of each image.
        threshold, top_k: as there.
        level: coverage.

    Returns:
        Estimates in [0, 1] on the logit scale with t of the patients less one, as for a proportion; the interval held
        the population's score in 93 to 97 % of simulated samples of 160 and 640 patients with prevalences from 1 %.
        A mean over labels has no interval where one patient has all positives, or all negatives, of one of them.

    Raises:
        ValueError: as `multilabel_scores`, or patients of another shape.

    Own patients; label 0 is found in one of two images, label 1 in its only one, and each loses a class with a patient:

    >>> y_true, y_prob = np.array([[1, 0], [1, 0], [0, 1.0]]), np.array([[0.9, 0], [0.2, 0], [0, 0.8]])
    >>> print(threshold_estimates(y_true, y_prob, np.arange(3))["cr"])
    0.7500, no interval: one patient has all of a class of 2 of 2 labels
    """
    truth, prob = checked(y_true, y_prob)
    group = codes(by_image(patients, truth))
    n_patients = int(group.max(initial=-1)) + 1
    predicted = predicted_cells(truth, prob, threshold, top_k)
    known = ~np.isnan(truth)
    about: dict[str, Any] = {
        "level": level,
        "method": METHOD,
        "n_images": int(known.any(axis=1).sum()),
        "n_patients": n_different(group[known.any(axis=1)]),
    }

    def by_patient(cells: np.ndarray) -> np.ndarray:
        return np.bincount(group, cells, n_patients)

    everything = _Counts(*np.zeros((3, n_patients)))
    precisions: list[_Ratio] = []
    recalls: list[_Ratio] = []
    lost = 0  # labels that lose a class with one patient
    for is_known, is_true, is_predicted in zip(known.T, (truth == 1).T, predicted.T, strict=True):
        counts = _Counts(*(by_patient(c) for c in (is_predicted & is_true, is_predicted, is_true)))
        everything = _Counts(*(a + b for a, b in zip(everything, counts, strict=True)))
        negatives = by_patient(is_known & ~is_true)
        if is_true.any() and negatives.any():
            precisions.append(counts.precision())
            recalls.append(counts.recall())
            lost += any((cells.sum() == cells).any() for cells in (counts.true, negatives))
    there = by_patient(known.any(axis=1)) > 0
    found: dict[str, Estimate] = {}
    for names, ratios, why in (
        (("cp", "cr", "cf1"), _class_means(precisions, recalls), "no label has both classes here"),
        (("op", "or", "of1"), _overall(everything), "no label has a positive here"),
    ):
        if ratios is None:
            found |= {name: Estimate(None, reason=why, **about) for name in names}
            continue
        reason = f"one patient has all of a class of {lost} of {len(recalls)} labels" if lost else ""
        reason = reason if names[0] == "cp" else ""
        for name, ratio in zip(names, (*ratios, _harmonic(*ratios)), strict=True):
            found[name] = _estimate(ratio, there, reason, about)
    return found


def _class_means(precisions: list[_Ratio], recalls: list[_Ratio]) -> tuple[_Ratio, _Ratio] | None:
    return (_mean(precisions), _mean(recalls)) if recalls else None


def _overall(counts: _Counts) -> tuple[_Ratio, _Ratio] | None:
    return (counts.precision(), counts.recall()) if counts.true.any() else None


def _mean(labels: list[_Ratio]) -> _Ratio:
    without = np.zeros_like(labels[0].without)
    for label in labels:  # not all at once: of 1,000 labels and 30,000 patients that would take gigabytes
        without += label.without / len(labels)
    return _Ratio(float(np.mean([label.value for label in labels])), without)


def _harmonic(precision: _Ratio, recall: _Ratio) -> _Ratio:
    def of(p: np.ndarray, r: np.ndarray) -> np.ndarray:
        return 2 * p * r / np.where(p + r != 0, p + r, 1)

    value = float(of(np.array(precision.value), np.array(recall.value)))
    return _Ratio(value, of(precision.without, recall.without))


def _estimate(ratio: _Ratio, there: np.ndarray, reason: str, about: dict[str, Any]) -> Estimate:
    left = ratio.without[there]
    if not reason and (len(left) < 2 or np.isnan(left).any()):
        reason = "one patient has all positives"
    if not reason and ratio.value in (0.0, 1.0):
        reason = f"it is at the {'lower' if ratio.value == 0 else 'upper'} end of its scale"
    if reason:
        return Estimate(ratio.value, reason=reason, **about)
    variance = float((influence(ratio.without, there) ** 2).sum())
    return on_logit_scale(ratio.value, variance, len(left) - 1, about)
