"""How far probabilities can be taken for risks, as rows: of (truth, q, patients), no markup.

n images, L labels. Everything has its interval by patient but the calibration error, which is a difference of squares
and has none: the reliability curve's bins have theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from couplet.evaluation.calibration.error import (
    CalibrationError,
    brier_skills,
    calibration_error,
    log_losses,
    macro_parts,
    squared_errors,
)
from couplet.evaluation.calibration.slopes import CalibrationLine, calibration_lines
from couplet.evaluation.estimate import Estimate, Source, few
from couplet.evaluation.multiple_tests import holm
from couplet.evaluation.ordering import n_different
from couplet.evaluation.proportions import coefficient, mean, observed_over_expected

ERROR_HAS_NONE = "its bins have theirs"
LEVEL = 0.05  # of the test that a label is calibrated, after Holm's correction


@dataclass(frozen=True)
class Measures:
    """What is said of one label's probabilities.

    Attributes:
        log_loss: mean of -log of the probability of what is true, in nats.
        brier: mean of (y - q)^2.
        skill: 1 - Brier / (pi (1 - pi)), with the prevalence pi out of fold; 0 is predicting pi everywhere.
        observed_over_expected: positives / sum of probabilities; below 1, probabilities are too high.
        slope: of log odds; below 1, probabilities are too extreme; above, too close to the prevalence.
        intercept: with the slope held at 1; below 0, probabilities are too high.
        error: sign(CE2) sqrt|CE2|; negative: none found.
        p_value: that slope and intercept are 1 and 0; NaN where it cannot be tested.
    """

    log_loss: Estimate
    brier: Estimate
    skill: Estimate
    observed_over_expected: Estimate
    slope: Estimate
    intercept: Estimate
    error: Estimate
    p_value: float

    def about(self, flags: tuple[str, ...], source: tuple[Source, ...]) -> Measures:
        """The same, with flags and source files on every estimate."""
        estimates = {
            one.name: getattr(self, one.name).flagged(*flags).of(*source)
            for one in fields(self)
            if one.name != "p_value"
        }
        return replace(self, **estimates)


class Means(NamedTuple):
    """Means over labels, and how many labels are not calibrated."""

    log_loss: Estimate
    brier: Estimate
    failing: int  # labels that fail the test of slope and intercept at LEVEL, after Holm
    tested: int


def label_measures(
    truth: np.ndarray, q: np.ndarray, patients: np.ndarray, prevalence: np.ndarray
) -> list[Measures]:
    """The measures of each label.

    Args:
        truth: (n, L) of 1, 0 or NaN, which takes no part.
        q: (n, L) probabilities.
        patients: (n,) codes.
        prevalence: (L,) out of fold; NaN, 0 or 1 where a label has no skill.
    """
    losses, errors = log_losses(truth, q), squared_errors(truth, q)
    skills = brier_skills(truth, q, prevalence)
    rows = []
    for label, (line, error) in enumerate(
        zip(calibration_lines(truth, q, patients), calibration_error(truth, q, patients), strict=True)
    ):
        y = truth[:, label]
        skill = mean(skills[:, label], patients, positive=y)
        if not np.isfinite(prevalence[label]) or not 0 < prevalence[label] < 1:
            skill = replace(skill, reason="no prevalence to compare with")
        rows.append(
            Measures(
                log_loss=mean(losses[:, label], patients, positive=y),
                brier=mean(errors[:, label], patients, positive=y),
                skill=skill,
                observed_over_expected=observed_over_expected(y, q[:, label], patients),
                slope=_coefficient(line.slope, line.slope_variance, line, y, patients),
                intercept=intercept_estimate(line, y, patients),
                error=error_estimate(error, y, patients),
                p_value=line.p_value,
            )
        )
    return rows


def means(truth: np.ndarray, q: np.ndarray, patients: np.ndarray, p_values: np.ndarray) -> Means:
    """Means over the labels, and the labels that fail.

    Args:
        truth, q, patients: as `label_measures`.
        p_values: (L,) of its rows; NaN was not tested.
    """
    adjusted = holm(p_values)
    return Means(
        mean(macro_parts(log_losses(truth, q)), patients),
        mean(macro_parts(squared_errors(truth, q)), patients),
        int((adjusted < LEVEL).sum()),
        int(np.isfinite(adjusted).sum()),
    )


def _coefficient(
    value: float, variance: float, line: CalibrationLine, truth: np.ndarray, patients: np.ndarray
) -> Estimate:
    n_positive = n_different(patients[truth == 1])
    counts: dict[str, Any] = {
        "n_images": line.n_images,
        "n_positive_patients": n_positive,
        "flags": few(n_positive),
    }
    if np.isnan(value):
        return Estimate(None, reason=line.reason, n_patients=line.n_patients, **counts)
    return coefficient(value, variance, line.n_patients, **counts)


def intercept_estimate(line: CalibrationLine, truth: np.ndarray, patients: np.ndarray) -> Estimate:
    """The intercept with the slope held at 1, of one label (n,)."""
    return _coefficient(line.intercept, line.intercept_variance, line, truth, patients)


def error_estimate(error: CalibrationError, truth: np.ndarray, patients: np.ndarray) -> Estimate:
    """sign(CE2) sqrt|CE2| of one label (n,), which has no interval."""
    value, bins_left_out = error.signed_root, error.bins_left_out
    known = ~np.isnan(truth)
    n_positive = n_different(patients[truth == 1])
    reason = ERROR_HAS_NONE if known.any() else "nothing is known"
    if bins_left_out:
        reason += f" ({bins_left_out} of one patient left out)"
    return Estimate(
        None if np.isnan(value) else value,
        reason=reason,
        method="bins of equal mass, chance’s part taken off by patient",
        n_images=int(known.sum()),
        n_patients=n_different(patients[known]),
        n_positive_patients=n_positive,
        flags=few(n_positive),
    )
