"""AUC and means without each one patient: exact, in O(n log n) per label.

A patient's images are left out together, so nothing is assumed of how they depend on each other. Unknown cells (NaN)
take part in nothing. N images, L labels, G patients.

See also: `couplet.evaluation.leave_one_out_precision` for the average precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from couplet.evaluation.metrics import checked
from couplet.evaluation.ordering import codes, n_different, order_codes, order_of


@dataclass(frozen=True)
class LeaveOneOut:
    """One label's statistic, and what it is without each patient.

    Attributes:
        value: of all images; NaN where it is not defined.
        without: (G,) without each patient, in the sorted order of their names; `value` for patients without a known
            cell; NaN where it is not defined.
        known: (G,) whether the patient has a known cell.
        n_images: known cells.
        n_positive: patients with a positive image; None where positives mean nothing.
        df: degrees of freedom of its standard error.
        reason: why it has no standard error; empty where it has one.
    """

    value: float
    without: np.ndarray
    known: np.ndarray
    n_images: int
    n_positive: int | None
    df: float
    reason: str

    @property
    def variance(self) -> float:
        """Jackknife variance over the patients with a known cell."""
        return float((influence(self.without, self.known) ** 2).sum())


def influence(without: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(G,) what each patient adds to a statistic, so scaled that the squares sum to the jackknife variance.

    sqrt((N-1) / N) (mean of theta_(-g) - theta_(-g)) over the N known patients, 0 for the others (the jackknife's
    influence function, Efron 1982): products of two statistics' influences sum to their covariance.
    """
    n = known.sum()
    centred = np.where(known, without[known].mean() - without, 0.0) if n else np.zeros(len(without))
    return np.sqrt(max(n - 1, 0) / max(n, 1)) * centred


def leave_one_out_auc(
    y_true: np.ndarray, y_score: np.ndarray, patients: np.ndarray, strata: np.ndarray | None = None
) -> Iterator[LeaveOneOut]:
    """Each label's AUC without each patient.

    With A_i the negatives that positive i beats (ties half), B_j the positives that beat negative j, U = sum A and
    U_gg the pairs won within patient g:
    theta_(-g) = (U - sum_{i in g} A_i - sum_{j in g} B_j + U_gg) / ((m - m_g) (n - n_g)).

    Args:
        y_true: (N, L) of 1, 0 or NaN.
        y_score: (N, L), finite.
        patients: (N,) patient of each image.
        strata: (N,) for example the fold of each image: only pairs within a stratum count, so that the value is
            sum_k m_k n_k AUC_k / sum_k m_k n_k. None: all pairs.

    Raises:
        ValueError: as `couplet.evaluation.metrics.auc_per_label`, or patients or strata of another shape.
    """
    truth, score = checked(y_true, y_score)
    patient = codes(by_image(patients, truth))
    stratum = np.zeros(len(truth), np.int64) if strata is None else codes(by_image(strata, truth))
    for truth_N, score_N in zip(truth.T, score.T, strict=True):
        yield _auc(truth_N, score_N, patient, stratum)


def leave_one_out_mean(values: np.ndarray, patients: np.ndarray) -> Iterator[LeaveOneOut]:
    """Each column's mean without each patient.

    Args:
        values: (N, L), for example losses; NaN is unknown.
        patients: (N,) patient of each image.
    """
    values = np.asarray(values, np.float64)
    patient = codes(by_image(patients, values))
    for column in values.T:
        yield _mean(column, patient)


# --- one label ------------------------------------------------------------------------------------------------


def _auc(truth: np.ndarray, score: np.ndarray, patient: np.ndarray, stratum: np.ndarray) -> LeaveOneOut:
    n_patients = count_of(patient)
    known = ~np.isnan(truth)
    # The order of the score and the truth in one integer, as in `couplet.evaluation.metrics`.
    key = 2 * order_codes(score[known]) + (truth[known] == 1)
    order = order_of(key)
    within = stratum[known]
    if within.any():
        order = order[order_of(within[order])]  # stratum by stratum, each by rising score
    key, group, within = key[order], patient[known][order], within[order]
    positive = (key & 1).astype(bool)
    won, there = _pairs(key, within)

    # Pairs within a patient, who has both classes then, are taken away with the positive and with the negative.
    images, positives = (
        np.bincount(group, minlength=n_patients),
        np.bincount(group[positive], minlength=n_patients),
    )
    own = np.flatnonzero(((positives > 0) & (positives < images))[group])
    own = own[order_of(group[own])]
    won_self, there_self = _pairs(key[own], within[own] * n_patients + group[own])
    group_self, positive_self = group[own], positive[own]

    def without(of_image: np.ndarray, of_image_self: np.ndarray) -> np.ndarray:
        """(G,) sum over all pairs, less those of the patient's images, plus those taken away twice."""
        twice = np.bincount(group_self, of_image_self * positive_self, n_patients)
        return np.asarray(of_image @ positive - (np.bincount(group, of_image, n_patients) - twice))

    pairs, n_pairs = without(there, there_self), int(there @ positive)
    left = np.where(pairs > 0, without(won, won_self) / np.maximum(2 * pairs, 1), np.nan)
    counted = there > 0 if n_pairs else np.ones(len(there), bool)
    n_positive, n_negative = (n_different(group[counted & kind]) for kind in (positive, ~positive))
    reason = ""
    if not n_pairs:
        reason = f"no {'positive' if not positive.any() else 'negative'} image"
        if positive.any() and not positive.all():
            reason = "no stratum has both classes"
    elif min(n_positive, n_negative) < 2 or np.isnan(left).any():
        reason = f"one patient has all {'positives' if n_positive <= n_negative else 'negatives'}"
    return LeaveOneOut(
        value=float(won @ positive / (2 * n_pairs)) if n_pairs else np.nan,
        without=left,
        known=images > 0,
        n_images=len(group),
        n_positive=n_positive,
        df=min(n_positive, n_negative) - 1,
        reason=reason,
    )


def _pairs(key: np.ndarray, stratum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each image its pairs with the other class in its stratum: twice those ranked rightly, and how many.

    Args:
        key: (n,) twice a number in the order of the scores, plus 1 for a positive; rising within each stratum.
        stratum: (n,) equal ones side by side.
    """
    if not len(key):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    other = stratum[1:] != stratum[:-1]
    higher = other | (key[1:] >> 1 != key[:-1] >> 1)
    # Where strata begin, and in them ties.
    starts = [np.flatnonzero(np.append(True, begins)) for begins in (other, higher)]
    sizes = [np.diff(start, append=len(key)) for start in starts]
    positive = (key & 1).astype(bool)
    won, there = [], []
    for other_class in (~positive, positive):
        before = np.append(0, np.cumsum(other_class))  # among the first 0, 1, 2 ... images
        (first, last), (below, upto) = (
            (before[start], before[start + size]) for start, size in zip(starts, sizes, strict=True)
        )
        there.append(np.repeat(last - first, sizes[0]))
        won.append(np.repeat(below + upto, sizes[1]) - np.repeat(2 * first, sizes[0]))
    # Of a negative those positives are ranked rightly that it does not beat.
    return np.where(positive, won[0], 2 * there[1] - won[1]), np.where(positive, *there)


def _mean(values: np.ndarray, patient: np.ndarray) -> LeaveOneOut:
    n_patients = count_of(patient)
    known = ~np.isnan(values)
    kept, group = values[known], patient[known]
    present = np.bincount(group, minlength=n_patients)
    left = len(kept) - present
    total = kept.sum() - np.bincount(group, kept, n_patients)
    n = int((present > 0).sum())
    return LeaveOneOut(
        value=float(kept.mean()) if len(kept) else np.nan,
        without=np.where(left > 0, total / np.maximum(left, 1), np.nan),
        known=present > 0,
        n_images=len(kept),
        n_positive=None,
        df=n - 1,
        reason={0: "nothing is known", 1: "one patient"}.get(n, ""),
    )


def count_of(numbers: np.ndarray) -> int:
    """One more than the largest."""
    return int(numbers.max(initial=-1)) + 1


def by_image(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N,) one value per row of `truth`; a ValueError if it is not."""
    if np.shape(values) != truth.shape[:1]:
        raise ValueError(f"patients and strata must be ({len(truth)},), not {np.shape(values)}")
    return np.asarray(values)
