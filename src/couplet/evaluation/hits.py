"""Which calls are right, cell by cell: what shares, and their intervals by patient, are computed from.

n images, L labels. Hits are (n, L) of 1, 0 or NaN, NaN where a cell does not count: each column is what
`couplet.evaluation.proportions.proportion` takes, with the patient of each image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Calls(NamedTuple):
    """Hits (n, L) of the shares that judge calls at a threshold.

    Attributes:
        sensitivity: positives that are called positive. specificity: negatives that are called negative.
        ppv: positive calls that are right. npv: negative calls that are right. Both at this data set's prevalence.
        positive_rate: cells that are called positive.
    """

    sensitivity: np.ndarray
    specificity: np.ndarray
    ppv: np.ndarray
    npv: np.ndarray
    positive_rate: np.ndarray


def calls(truth: np.ndarray, q: np.ndarray, thresholds: np.ndarray) -> Calls:
    """Judge calling every cell positive whose q is at or above its threshold.

    Args:
        truth: (n, L) of 1, 0 or NaN for unknown, which counts nowhere.
        q: (n, L).
        thresholds: (L,), or (n, L) where folds have thresholds of their own; NaN where there is none, whose cells
            count nowhere.

    Returns:
        Hits of each share.

    Raises:
        ValueError: truth and q differ in shape.

    >>> found = calls(np.array([[1], [0], [np.nan]]), np.array([[0.5], [0.7], [0.9]]), np.array([0.5]))
    >>> [share(hits).tolist() for hits in found]
    [[1.0], [0.0], [0.5], [nan], [1.0]]
    """
    if np.shape(truth) != np.shape(q):
        raise ValueError(f"truth and q must have one shape, not {np.shape(truth)} and {np.shape(q)}")
    called = q >= thresholds
    counts = ~np.isnan(truth) & ~np.isnan(thresholds)
    positive = truth == 1
    return Calls(
        sensitivity=among(called, counts & positive),
        specificity=among(~called, counts & ~positive),
        ppv=among(positive, counts & called),
        npv=among(~positive, counts & ~called),
        positive_rate=among(called, counts),
    )


def among(hit: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(n, L) hits (booleans or numbers) where `cells` is true, NaN elsewhere."""
    return np.where(cells, hit, np.nan)


def share(hits: np.ndarray) -> np.ndarray:
    """(L,) hits / cells; NaN without cells."""
    cells = (~np.isnan(hits)).sum(axis=0)
    return np.divide(np.nansum(hits, axis=0), cells, out=np.full(hits.shape[1], np.nan), where=cells > 0)


def patient_shares(hits: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """(G, L) share of hits of each patient, NaN without cells: every patient counts alike in their mean.

    Args:
        hits: (n, L) of numbers or NaN.
        patients: (n,) codes from 0 to G-1.

    Raises:
        ValueError: patients are not codes.

    >>> patient_shares(np.array([[1.0], [0.0], [1.0], [np.nan]]), np.array([0, 0, 1, 2])).ravel().tolist()
    [0.5, 1.0, nan]
    """
    patients = checked_codes(patients, len(hits), "patients")
    cells = _sums((~np.isnan(hits)).astype(np.float64), patients)
    return np.divide(
        _sums(np.nan_to_num(hits), patients), cells, out=np.full(cells.shape, np.nan), where=cells > 0
    )


def _sums(values: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """(G, L) sums over each patient's rows of (n, L)."""
    return np.stack([np.bincount(patients, column) for column in values.T], axis=1)


def checked_codes(codes: np.ndarray, n_rows: int, name: str) -> np.ndarray:
    """`codes` as (n,) int64.

    Raises:
        ValueError: another shape, or not whole numbers from 0; `name` is named.
    """
    codes = np.asarray(codes)
    if codes.shape != (n_rows,) or codes.dtype.kind not in "ui" or (codes.size and codes.min() < 0):
        raise ValueError(
            f"{name} must be ({n_rows},) whole numbers from 0, not {codes.dtype} of shape {codes.shape}"
        )
    return codes.astype(np.int64)
