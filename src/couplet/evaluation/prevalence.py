"""Prevalence: of known labels, another to which probabilities are moved, of unlabelled images. n images, L labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, logit, stdtrit

from couplet.evaluation.estimate import LEVEL, Estimate, around
from couplet.evaluation.hits import share
from couplet.evaluation.proportions import ONE_PATIENT, patient_sandwich

_HALVINGS = 60  # of the interval that holds the estimate: more change no digit
METHOD = "patient sandwich, logit scale, t; of the images alone, the calibrators being exact"


def prevalences(truth: np.ndarray) -> np.ndarray:
    """(L,) share of positives among each label's known cells, of truth (n, L); NaN without any."""
    return share(truth)


def moved(q: np.ndarray, prevalence: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The probabilities where nothing but the prevalence is another: logit q + logit other - logit prevalence.

    Bayes' rule where the pictures of each class are as they were (label shift; Saerens, Latinne and Decaestecker 2002).
    Strictly rising in q, so AUC and calibration slope stay.

    Args:
        q: (n, L) calibrated probabilities.
        prevalence: (L,) where they are calibrated.
        other: (L,) where they are to be.

    Returns:
        (n, L); NaN for a label of which one of the two is unknown, 0 or 1.

    >>> moved(np.array([[0.5], [0.2]]), np.array([0.5]), np.array([0.2])).round(4).tolist()
    [[0.2], [0.0588]]
    """
    known = (prevalence > 0) & (prevalence < 1) & (other > 0) & (other < 1)
    shift = np.full(len(known), np.nan)
    shift[known] = logit(other[known]) - logit(prevalence[known])
    with np.errstate(divide="ignore"):
        return np.asarray(expit(logit(q) + shift))


def estimated_prevalence(
    q: np.ndarray, prevalence: float, patients: np.ndarray, level: float = LEVEL
) -> Estimate:
    """One label's prevalence among images whose truth is not looked at.

    The share at which the mean of the `moved` probabilities is that share itself: where the EM iteration of Saerens,
    Latinne and Decaestecker (2002) ends, found by bisection since its likelihood has one maximum. It is right where
    q is calibrated and nothing but the prevalence changed.

    Args:
        q: (n,) calibrated probabilities.
        prevalence: where they are calibrated.
        patients: (n,) patient of each image.
        level: coverage of the interval, which takes the calibrators for exact.
    """
    n_patients = len(np.unique(patients))
    about: dict[str, Any] = {"level": level, "n_images": len(q), "n_patients": n_patients, "method": METHOD}
    if not len(q) or not 0 < prevalence < 1:
        return Estimate(None, reason="no image" if not len(q) else "no prevalence to start from", **about)
    present, absent = q / prevalence, (1 - q) / (1 - prevalence)

    def scores(share: float) -> np.ndarray:
        """Of each image the derivative of its log likelihood."""
        return np.asarray((present - absent) / (share * present + (1 - share) * absent))

    low, high = 1e-12, 1 - 1e-12
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if scores(middle).sum() > 0 else (low, middle)
    share = (low + high) / 2
    if not 1e-9 < share < 1 - 1e-9:
        return Estimate(float(round(share)), reason="at the end of the scale", **about)
    if n_patients < 2:
        return Estimate(share, reason=ONE_PATIENT, **about)
    gradient = scores(share)[:, None]
    variance = float(patient_sandwich(gradient.T @ gradient, gradient, patients)[0, 0])
    reach = float(stdtrit(n_patients - 1, (1 + level) / 2)) * np.sqrt(variance) / (share * (1 - share))
    return around(share, reach, logit, expit, **about)
