"""Intervals of shares, means, ratios and coefficients, by patient: images of one patient are not independent.

Everything takes one value per image and the patient of each image; NaN is unknown and takes part in nothing. With G
patients the variance of a sum is G / (G-1) times the sum of squares of the patients' own sums (the cluster-robust
estimate), and the quantile is Student's with G-1 degrees of freedom.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import stdtrit

from couplet.evaluation.estimate import LEVEL, Estimate, around, few
from couplet.evaluation.ordering import codes, n_different, order_of

ONE_PATIENT = "one patient"
NOTHING = "nothing is known"


def proportion(
    hits: np.ndarray,
    patients: np.ndarray,
    level: float = LEVEL,
    positive: np.ndarray | None = None,
    cells: int = 1,
) -> Estimate:
    """A share with Wilson's interval at the number of independent images that the patients are worth.

    With h_g hits among w_g images of patient g, p = H / W and v = G / (G-1) sum (h_g - p w_g)^2 / W^2, that number is
    p (1-p) / v, cut to [1, W]; G where v is 0. So p = 0 and p = 1 have an interval too.

    Args:
        hits: (n,) of 1, 0 or NaN for an image that does not count; with `cells` the share of its cells that are hits.
        patients: (n,) patient of each image.
        level: coverage.
        positive: (n,) 1 for images positive for the label in question, for the count and the flag `few`.
        cells: of each image, for example one per label: W counts them.

    Returns:
        An estimate in [0, 1]; without an interval for a single patient.

    >>> print(proportion(np.array([1, 1, 1, 0, 0]), np.array([1, 1, 2, 2, 3])))
    0.6000 [0.064, 0.971]
    """
    kept, group, about = _counted(hits, patients, level, positive)
    about["method"] = "Wilson, effective number of images by patient, t"
    if (undefined := _without_interval(kept, group, about)) is not None:
        return undefined
    n_patients, n_images, share = about["n_patients"], len(kept), float(kept.mean())
    variance = _variance(kept - share, group) / n_images**2
    worth = (
        float(np.clip(share * (1 - share) / variance, 1, n_images * cells)) if variance > 0 else n_patients
    )
    t2 = _quantile(level, n_patients - 1) ** 2
    middle = (share + t2 / (2 * worth)) / (1 + t2 / worth)
    reach = np.sqrt(t2) * np.sqrt(share * (1 - share) / worth + t2 / (4 * worth**2)) / (1 + t2 / worth)
    low, high = max(float(middle - reach), 0.0), min(float(middle + reach), 1.0)
    return Estimate(share, low, high, **about)


def mean(
    values: np.ndarray, patients: np.ndarray, level: float = LEVEL, positive: np.ndarray | None = None
) -> Estimate:
    """A mean over images, for example of a loss, with its t interval by patient.

    Args:
        values: (n,) any numbers, NaN for an image that does not count.
        patients: (n,) patient of each image.
        level: coverage.
        positive: as for `proportion`.
    """
    kept, group, about = _counted(values, patients, level, positive)
    about["method"] = "mean by patient, t"
    if (undefined := _without_interval(kept, group, about)) is not None:
        return undefined
    value = float(kept.mean())
    error = np.sqrt(_variance(kept - value, group)) / len(kept)
    return around(value, _quantile(level, about["n_patients"] - 1) * error, _same, _same, **about)


def observed_over_expected(
    y_true: np.ndarray, y_prob: np.ndarray, patients: np.ndarray, level: float = LEVEL
) -> Estimate:
    """Positives over the sum of probabilities, its interval on the log scale (delta method), by patient.

    Args:
        y_true: (n,) of 1, 0 or NaN.
        y_prob: (n,) probabilities.
        patients: (n,) patient of each image.
        level: coverage.

    Returns:
        Without an interval where nothing was observed or for a single patient; without a value where nothing was
        expected.
    """
    y_true, y_prob = np.asarray(y_true, np.float64), np.asarray(y_prob, np.float64)
    kept, group, about = _counted(y_true, patients, level, y_true)
    about["method"] = "log scale, delta method by patient, t"
    expected_n = y_prob[~np.isnan(y_true)]
    observed, expected = float(kept.sum()), float(expected_n.sum())
    if expected <= 0:
        return Estimate(None, reason="nothing is expected", **about)
    if observed == 0 or about["n_patients"] == 1:
        reason = "no positive image" if observed == 0 else ONE_PATIENT
        return Estimate(observed / expected, reason=reason, **about)
    error = np.sqrt(_variance(kept / observed - expected_n / expected, group))
    reach = _quantile(level, about["n_patients"] - 1) * error
    return around(observed / expected, reach, np.log, np.exp, **about)


def patient_sandwich(hessian: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Covariance of P fitted coefficients, robust to images of one patient depending on each other.

    H^-1 (G / (G-1) sum_g s_g s_g') H^-1 (Liang and Zeger 1986), with s_g the sum of a patient's scores.

    Args:
        hessian: (P, P) second derivatives of the summed negative log-likelihood at its minimum.
        scores: (n, P) gradient of each image's log-likelihood there.
        patients: (n,) patient of each image.

    Returns:
        (P, P); NaN for a single patient.
    """
    by_patient = _sums(np.asarray(scores, np.float64), codes(patients))
    bread, n = np.linalg.inv(hessian), len(by_patient)
    if n < 2:
        return np.full(bread.shape, np.nan)
    return bread @ (n / (n - 1) * by_patient.T @ by_patient) @ bread


def coefficient(
    value: float, variance: float, n_patients: int, level: float = LEVEL, **about: Any
) -> Estimate:
    """A slope or an intercept with its t interval from a variance of `patient_sandwich`."""
    about = {"level": level, "n_patients": n_patients, "method": "patient sandwich, t", **about}
    if n_patients < 2 or not np.isfinite(variance):
        return Estimate(
            value, reason=ONE_PATIENT if n_patients < 2 else "the fit has no finite error", **about
        )
    return around(value, _quantile(level, n_patients - 1) * np.sqrt(variance), _same, _same, **about)


# --- sums by patient ------------------------------------------------------------------------------------------


def _counted(
    values: np.ndarray, patients: np.ndarray, level: float, positive: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """The known values, the patient of each as a number, and the counts that every estimate carries."""
    values, patients = np.asarray(values, np.float64), np.asarray(patients)
    if values.ndim != 1 or patients.shape != values.shape:
        raise ValueError(
            f"one value and one patient per image are needed, not {values.shape}, {patients.shape}"
        )
    known = ~np.isnan(values)
    group = codes(patients[known])
    n_patients = int(group.max()) + 1 if len(group) else 0
    n_positive = None if positive is None else n_different(group[np.asarray(positive)[known] == 1])
    about = {"level": level, "n_images": int(known.sum()), "n_patients": n_patients}
    return values[known], group, about | {"n_positive_patients": n_positive, "flags": few(n_positive)}


def _without_interval(kept: np.ndarray, group: np.ndarray, about: dict[str, Any]) -> Estimate | None:
    if about["n_patients"] > 1:
        return None
    value = float(kept.mean()) if len(kept) else None
    return Estimate(value, reason=ONE_PATIENT if len(kept) else NOTHING, **about)


def _sums(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Sums of (n,) or (n, P) values over the images of each patient."""
    order = order_of(group)
    return np.add.reduceat(values[order], np.flatnonzero(np.diff(group[order], prepend=-1)), axis=0)


def _variance(residuals: np.ndarray, group: np.ndarray) -> float:
    """Of the sum of the residuals: G / (G-1) times the sum of squares of the patients' sums."""
    by_patient = _sums(residuals, group)
    return float(len(by_patient) / (len(by_patient) - 1) * (by_patient**2).sum())


def _quantile(level: float, df: float) -> float:
    return float(stdtrit(df, (1 + level) / 2))


def _same(value: float) -> float:
    return value
