"""DeLong's errors of AUCs from all pairs of images, as the papers write them: the reference of faster code."""

from __future__ import annotations

import numpy as np


def delong_errors(y_true: np.ndarray, y_score: np.ndarray, patients: np.ndarray | None = None) -> np.ndarray:
    """Standard error of each label's AUC (DeLong, DeLong and Clarke-Pearson 1988; by patient: Obuchowski 1997).

    Args:
        y_true: (N, L) of 1, 0 or NaN.
        y_score: (N, L).
        patients: (N,) whose images are summed before squaring; None: every image is independent.
    """
    influences = _influences(y_true, y_score)
    return np.sqrt((_by_patient(influences, patients) ** 2).sum(axis=0))


def macro_error(y_true: np.ndarray, y_score: np.ndarray, patients: np.ndarray | None = None) -> float:
    """Standard error of the mean AUC over labels, which must all have both classes."""
    influences = _influences(y_true, y_score).mean(axis=1, keepdims=True)
    return float(np.sqrt((_by_patient(influences, patients) ** 2).sum()))


def _influences(y_true: np.ndarray, y_score: np.ndarray) -> np.ndarray:
    """(N, L), so scaled that their squares sum to DeLong's variance."""
    influences = np.zeros(np.shape(y_true))
    for label, (truth, score) in enumerate(zip(y_true.T, y_score.T, strict=True)):
        positive, negative = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
        high, low = score[positive, None], score[None, negative]
        wins = (high > low) + 0.5 * (high == low)
        for rows, placements in ((positive, wins.mean(axis=1)), (negative, wins.mean(axis=0))):
            n = len(rows)
            with np.errstate(invalid="ignore"):  # a single positive says nothing of the spread
                influences[rows, label] = (placements - placements.mean()) / np.sqrt(n * (n - 1))
    return influences


def _by_patient(influences: np.ndarray, patients: np.ndarray | None) -> np.ndarray:
    if patients is None:
        return influences
    return np.stack([influences[patients == patient].sum(axis=0) for patient in np.unique(patients)])
