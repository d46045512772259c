"""The average precision without each one patient: exact, from running sums (see `couplet.evaluation.leave_one_out`)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from couplet.evaluation.leave_one_out import LeaveOneOut, by_image, count_of
from couplet.evaluation.metrics import checked
from couplet.evaluation.ordering import codes, n_different, order_codes, order_of


def leave_one_out_average_precision(
    y_true: np.ndarray, y_score: np.ndarray, patients: np.ndarray
) -> Iterator[LeaveOneOut]:
    """Each label's average precision (`couplet.evaluation.metrics`) without each patient.

    Args and Raises: as `couplet.evaluation.leave_one_out.leave_one_out_auc`.
    """
    truth, score = checked(y_true, y_score)
    patient = codes(by_image(patients, truth))
    for truth_N, score_N in zip(truth.T, score.T, strict=True):
        yield _average_precision(truth_N, score_N, patient)


def _average_precision(truth: np.ndarray, score: np.ndarray, patient: np.ndarray) -> LeaveOneOut:
    n_patients = count_of(patient)
    known = ~np.isnan(truth)
    rank, positive, group = _ranks_from_the_top(score[known]), truth[known] == 1, patient[known]
    order = order_of(group * count_of(rank) + rank)  # patient by patient, each from its top
    rank, positive, group = rank[order], positive[order], group[order]
    # Positives, and images, of a rank below 0, 1, 2 ...
    tops_above, all_above = (_counted_up(ranks, count_of(rank)) for ranks in (rank[positive], rank))
    tops = np.sort(rank[positive])
    n_tops = len(tops)
    # Of each positive, from the top: positives and images at or above its score. Its precision is their ratio.
    hits, found = tops_above[tops + 1], all_above[tops + 1]

    # Without c images at or above it, a of them positive, the precision of a positive is (hits - a) / (found - c).
    # From one image of a patient to its next one c and a stay the same: running sums for each c give the part's sum.
    key, start = group * count_of(rank) + rank, group * count_of(rank)
    c, a = (
        np.searchsorted(own, key, "right") - np.searchsorted(own, start, "left")
        for own in (key, key[positive])
    )
    begin = tops_above[rank]
    last = np.append(group[1:] != group[:-1], True)[: len(group)]
    end = np.where(last, n_tops, np.append(begin[1:], n_tops)[: len(begin)])
    # The patient's own positives.
    own = _ratio(tops_above[rank + 1] - a, all_above[rank + 1] - c) * positive
    first = np.append(True, last[:-1])[: len(group)]
    # Positives above the patient's top image stay as they are.
    above = _running(_ratio(hits, found))[begin] * first
    total = np.bincount(group, above - own, n_patients)
    for gone in range(1, int(c.max(initial=0)) + 1):
        at = c == gone
        hit, one = (_running(_ratio(part, found - gone)) for part in (hits, np.ones(n_tops)))
        part = hit[end[at]] - hit[begin[at]] - a[at] * (one[end[at]] - one[begin[at]])
        total += np.bincount(group[at], part, n_patients)

    left = n_tops - np.bincount(group, positive, n_patients)
    present = np.bincount(group, minlength=n_patients) > 0
    value = float(_ratio(hits, found).sum() / n_tops) if n_tops else np.nan
    n_positive = n_different(group[positive])
    reason = {0: "no positive image", 1: "one patient has all positives"}.get(n_positive, "")
    return LeaveOneOut(
        value=value,
        without=np.where(present, np.where(left > 0, total / np.maximum(left, 1), np.nan), value),
        known=present,
        n_images=len(group),
        n_positive=n_positive,
        df=n_positive - 1,
        reason=reason,
    )


def _ranks_from_the_top(score: np.ndarray) -> np.ndarray:
    """(n,) 0 for the highest score, equal ones for equal scores, without gaps."""
    score = order_codes(score)
    order = order_of(score)
    rising = np.cumsum(np.append(0, np.diff(score[order]) != 0))[: len(score)]
    rank = np.empty(len(score), np.int64)
    rank[order] = rising[-1:] - rising
    return rank


def _counted_up(ranks: np.ndarray, n: int) -> np.ndarray:
    """(n + 1,) how many of the ranks are below 0, 1 ... n."""
    return np.append(0, np.cumsum(np.bincount(ranks, minlength=n)))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; 0 where nothing is left."""
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)


def _running(values: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, 2 ... values."""
    return np.append(0.0, np.cumsum(values))
