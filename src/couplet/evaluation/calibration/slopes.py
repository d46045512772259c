"""Calibration slope and intercept of each label with patient sandwich errors, and the test of both (Cox 1958)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from couplet.evaluation.calibration.beta import off_edges
from couplet.evaluation.calibration.logistic import fit_logistic, information
from couplet.evaluation.ordering import n_different
from couplet.evaluation.proportions import patient_sandwich

ONE_CLASS = "one class only"
NOT_ASKED = "the slope was left out"
SEPARATED = "a threshold separates positives from negatives"
TOO_FEW_PATIENTS = "too few patients for an error of both"


@dataclass(frozen=True)
class CalibrationLine:
    """Logistic regression of y on logit q for one label; right are slope 1 and intercept 0.

    Attributes:
        slope: below 1: probabilities are too extreme, above 1: too close to the prevalence.
        slope_variance: by patient, for `couplet.evaluation.proportions.coefficient`.
        intercept: with the slope held at 1: below 0, probabilities are too high.
        intercept_variance: by patient.
        p_value: of the Wald test that the regression's intercept and slope are 0 and 1 (chi-squared, 2 degrees of
            freedom).
        n_images, n_patients: with a known truth.
        reason: why slope, p_value or all of it is NaN; empty where nothing is.
    """

    slope: float
    slope_variance: float
    intercept: float
    intercept_variance: float
    p_value: float
    n_images: int
    n_patients: int
    reason: str = ""


def calibration_lines(
    truth: np.ndarray, q: np.ndarray, patients: np.ndarray, slopes: bool = True
) -> list[CalibrationLine]:
    """The line of each label.

    Args:
        truth: (n, L) of 0, 1 or NaN; an unknown cell takes no part.
        q: (n, L) probabilities, cut to 2^-150 and 1 - 2^-25.
        patients: (n,) patient of each image.
        slopes: False leaves slope and test out, which take most of the time.

    See Also:
        couplet.evaluation.multiple_tests.holm: the p-values of all labels together.
    """
    z = logit(off_edges(q))
    columns = zip(np.asarray(truth, dtype=np.float64).T, z.T, strict=True)
    return [_line(y, x, patients, slopes) for y, x in columns]


def _line(y: np.ndarray, z: np.ndarray, patients: np.ndarray, slopes: bool) -> CalibrationLine:
    known = ~np.isnan(y)
    y, z, who = y[known], z[known], patients[known]
    n_images, n_patients, nan = len(y), n_different(who), float("nan")
    if not 0 < y.sum() < n_images:
        return CalibrationLine(nan, nan, nan, nan, nan, n_images, n_patients, ONE_CLASS)
    ones = np.ones((1, n_images))
    # Both fits start where images count: where probabilities are nearly 0 or 1 they have no second derivatives.
    middle = np.quantile(z, 0.5, method="lower")
    found, _ = fit_logistic(ones, y, np.array([logit(y.mean()) - middle]), offset=z)
    intercept = float(found[0])
    hessian = information(ones, intercept + z)
    variance = float(_covariance(hessian, ones, y - expit(intercept + z), who)[0, 0])
    if not slopes:
        return CalibrationLine(nan, nan, intercept, variance, nan, n_images, n_patients, NOT_ASKED)
    positive, negative = z[y == 1], z[y == 0]
    if positive.min() >= negative.max() or positive.max() <= negative.min():
        return CalibrationLine(nan, nan, intercept, variance, nan, n_images, n_patients, SEPARATED)
    features = np.stack([ones[0], z])
    line, _ = fit_logistic(features, y, np.array([logit(y.mean()), 0.0]))
    hessian = information(features, line @ features)
    covariance = _covariance(hessian, features, y - expit(line @ features), who)
    p_value, reason = nan, TOO_FEW_PATIENTS
    if _can_be_tested(hessian, covariance, n_patients):
        off = line - [0.0, 1.0]
        p_value, reason = float(np.exp(-(off @ np.linalg.solve(covariance, off)) / 2)), ""
    return CalibrationLine(
        float(line[1]), float(covariance[1, 1]), intercept, variance, p_value, n_images, n_patients, reason
    )


def _can_be_tested(hessian: np.ndarray, covariance: np.ndarray, n_patients: int) -> bool:
    """Not where the patients' scores are in line, as those of two always are: they sum to 0."""
    if n_patients < 3 or not np.isfinite(covariance).all():
        return False
    ratio = hessian @ covariance  # near the identity where patients have one image each
    return bool(np.linalg.det(ratio) > 1e-9 * np.trace(ratio) ** 2)


def _covariance(hessian: np.ndarray, features: np.ndarray, off: np.ndarray, who: np.ndarray) -> np.ndarray:
    try:
        return patient_sandwich(hessian, (features * off).T, who)
    except np.linalg.LinAlgError:  # only a few images that are not certain
        return np.full(hessian.shape, np.nan)
