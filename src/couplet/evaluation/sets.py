"""Prediction sets that may abstain: per label {absent}, {present}, both (uncertain) or neither (unlike both).

Class-conditional cross-conformal prediction with the folds' models as they are and patients as the unit:

    P_1(x) = [1 + sum_k sum_{i in fold k, y_i = 1, c_i = c} w_i 1(p_i <= p_k(x))] / (M_1 + 1)
    P_0(x) alike with y_i = 0 and p_i >= p_k(x); class y stays in the set iff P_y(x) > alpha

w_i = 1 / images of i's patient in fold k with this class and category, M_y = patients who have such an image, p_k(x)
= model k's score, compared only with model k's own out-of-fold scores. No p-value is smoothed: no random number.
Sources: Vovk 2015; Barber et al. 2021; Gasparin and Ramdas 2025; weights: Dunn et al. 2022, Lee et al. 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from couplet.evaluation.decisions import TIE, patient_weights
from couplet.evaluation.hits import checked_codes

ABSENT, PRESENT, BOTH, NEITHER = range(4)
_DIGITS = 9  # of cumulative weights: 1/3 + 1/3 + 1/3 is a whole patient


class Sets(NamedTuple):
    """P-values of both classes and the set, each (n, L); decision: 0 absent, 1 present, 2 both, 3 neither."""

    p_present: np.ndarray
    p_absent: np.ndarray
    decision: np.ndarray


@dataclass(frozen=True)
class ConformalRecord:
    """All that later images need: sorted out-of-fold scores of each fold, label, class and category.

    Attributes:
        n_folds, n_labels: K and L.
        categories: names, sorted; an image of another category is in no calibration, so its sets stay whole.
        scores: (T,) rising within each cell; cells in the order fold, label, class 0 and 1, category.
        weights: (T,) cumulative weights within each cell; the last is the cell's number of patients.
        offsets: (K * L * 2 * C + 1,) where each cell begins.
    """

    n_folds: int
    n_labels: int
    categories: np.ndarray
    scores: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray

    def cell(self, fold: int, label: int, y: int, category: int) -> tuple[np.ndarray, np.ndarray]:
        """(scores, cumulative weights) of one cell."""
        index = ((fold * self.n_labels + label) * 2 + y) * len(self.categories) + category
        part = slice(self.offsets[index], self.offsets[index + 1])
        return self.scores[part], self.weights[part]

    def patients(self) -> np.ndarray:
        """(L, 2, C) M_y: patients with an image of the class in the category."""
        ends = self.offsets[1:]
        has = ends > self.offsets[:-1]
        last = np.zeros(len(ends))
        last[has] = self.weights[ends[has] - 1]
        return np.rint(last.reshape(self.n_folds, self.n_labels, 2, -1).sum(axis=0)).astype(np.int64)

    def arrays(self) -> dict[str, np.ndarray]:
        """What conformal.npz holds; `record_of_arrays` reads it."""
        return {
            "shape": np.array([self.n_folds, self.n_labels]),
            "categories": self.categories.astype(np.str_),
            "scores": self.scores,
            "weights": self.weights,
            "offsets": self.offsets,
        }


def record_of_arrays(arrays: dict[str, np.ndarray]) -> ConformalRecord:
    """The record that `ConformalRecord.arrays` gave."""
    n_folds, n_labels = (int(size) for size in arrays["shape"])
    return ConformalRecord(
        n_folds, n_labels, *(arrays[name] for name in ("categories", "scores", "weights", "offsets"))
    )


def conformal_record(
    truth: np.ndarray, p: np.ndarray, patients: np.ndarray, folds: np.ndarray, category: np.ndarray
) -> ConformalRecord:
    """Sort the out-of-fold scores and add up their patients' weights.

    Args:
        truth: (n, L) of 1, 0 or NaN; unknown cells take no part.
        p: (n, L) uncalibrated scores of each row's own fold's model.
        patients: (n,) codes from 0.
        folds: (n,) codes 0 to K-1.
        category: (n,) names, for example views; all alike for sets over all images together.

    Raises:
        ValueError: patients or folds are not codes, or there is no row.
    """
    n_rows, n_labels = np.shape(truth)
    if not n_rows:
        raise ValueError("prediction sets need out-of-fold rows")
    patients, folds = checked_codes(patients, n_rows, "patients"), checked_codes(folds, n_rows, "folds")
    categories, code = np.unique(np.asarray(category).astype(np.str_), return_inverse=True)
    n_folds, scores, weights, sizes = int(folds.max()) + 1, [], [], []
    cells = {
        (k, c): np.flatnonzero((folds == k) & (code == c))
        for k in range(n_folds)
        for c in range(len(categories))
    }
    for k in range(n_folds):
        for label in range(n_labels):
            for y in (0, 1):
                for c in range(len(categories)):
                    rows = cells[k, c][truth[cells[k, c], label] == y]
                    rows = rows[np.argsort(p[rows, label], kind="stable")]
                    scores.append(p[rows, label])
                    weights.append(np.cumsum(patient_weights(patients[rows])).round(_DIGITS))
                    sizes.append(len(rows))
    offsets = np.append(0, np.cumsum(sizes))
    return ConformalRecord(
        n_folds, n_labels, categories, np.concatenate(scores), np.concatenate(weights), offsets
    )


def prediction_sets(
    record: ConformalRecord, p_of_folds: np.ndarray, category: np.ndarray, alpha: float
) -> Sets:
    """The sets of new images.

    Args:
        record: of the out-of-fold rows.
        p_of_folds: (K, n, L) each image's scores by each fold's model.
        category: (n,) names, as `conformal_record` was given.
        alpha: in (0, 0.5): the share of patients whose true class a set may miss.

    Returns:
        Sets (n, L).

    Raises:
        ValueError: scores of another number of folds or labels.
    """
    n_folds, n_images, n_labels = np.shape(p_of_folds)
    if (n_folds, n_labels) != (record.n_folds, record.n_labels):
        raise ValueError(
            f"scores of {n_folds} folds and {n_labels} labels for sets of {record.n_folds} and {record.n_labels}"
        )
    names = np.asarray(category).astype(np.str_)
    counted, patients = np.ones((2, n_images, n_labels)), np.zeros((2, n_images, n_labels))
    n_patients = record.patients()
    for c, name in enumerate(record.categories):
        rows = np.flatnonzero(names == name)
        patients[:, rows] = n_patients[:, :, c].T[:, None]
        for k in range(n_folds):
            for label in range(n_labels):
                new = p_of_folds[k, rows, label]
                counted[1, rows, label] += _at_or_below(*record.cell(k, label, 1, c), new)
                counted[0, rows, label] += _at_or_above(*record.cell(k, label, 0, c), new)
    kept = counted > alpha * (patients + 1) + TIE
    decision = np.where(kept[1], np.where(kept[0], BOTH, PRESENT), np.where(kept[0], ABSENT, NEITHER))
    p_absent, p_present = counted / (patients + 1)
    return Sets(p_present, p_absent, decision.astype(np.int8))


def _at_or_below(scores: np.ndarray, cumulative: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.append(0.0, cumulative)[np.searchsorted(scores, new, side="right")]


def _at_or_above(scores: np.ndarray, cumulative: np.ndarray, new: np.ndarray) -> np.ndarray:
    all_of_them = cumulative[-1] if len(cumulative) else 0.0
    return all_of_them - np.append(0.0, cumulative)[np.searchsorted(scores, new, side="left")]


def realised_coverage(n_patients: np.ndarray, alpha: float, level: float = 0.95) -> tuple[np.ndarray, ...]:
    """The range of coverage that a run's own calibration patients give, at `level`: Beta(M + 1 - l, l).

    l = floor((M + 1) alpha). Fewer than 1 / alpha - 1 patients: the class is never dropped, coverage is 1.

    >>> [bound.round(2).tolist() for bound in realised_coverage(np.array([8, 9, 100]), 0.1)]
    [[1.0, 0.66, 0.84], [1.0, 1.0, 0.95]]
    """
    n = np.asarray(n_patients, dtype=np.float64)
    missed = np.floor((n + 1) * alpha + TIE)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    return tuple(
        np.where(missed > 0, betaincinv(n + 1 - missed, np.maximum(missed, 1), tail), 1.0) for tail in tails
    )


def never_dropped(n_patients: np.ndarray, alpha: float) -> np.ndarray:
    """True where a class has too few patients (below 1 / alpha - 1) ever to leave a set."""
    return (np.asarray(n_patients) + 1) * alpha + TIE < 1
