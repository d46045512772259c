"""How good calibrated probabilities are, label by label: losses, calibration error, the reliability curve.

Of (truth, q, patients): truth (n, L) of 0, 1 or NaN, q (n, L) probabilities, patients (n,) patient of each image.
Losses are given per image, for `couplet.evaluation.proportions.mean`, which knows patients. An unknown cell takes no
part.

See Also:
    couplet.evaluation.proportions.observed_over_expected: the ratio that is 1 where probabilities are right on average.
    couplet.evaluation.calibration.slopes.calibration_lines: whether they are too extreme.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from couplet.evaluation.calibration.beta import off_edges
from couplet.evaluation.estimate import Estimate
from couplet.evaluation.proportions import patient_sandwich, proportion

BINS = 10
SUREST = 1e-12  # of a probability in a loss: below it one wrong image would outweigh all others
FEWEST_OF_A_CLASS = 100  # below it a reliability curve is too few to judge


class CalibrationError(NamedTuple):
    """Squared calibration error of a label, without what chance adds."""

    squared: float  # CE2; NaN where nothing is known, negative where no error was found
    bins_left_out: int  # bins of one patient, whose noise is not known

    @property
    def signed_root(self) -> float:
        """sign(CE2) sqrt|CE2|, on the scale of a probability: what is printed."""
        return float(np.sign(self.squared) * np.sqrt(abs(self.squared)))


class ReliabilityBin(NamedTuple):
    """A bin of the reliability curve."""

    predicted: float  # mean of q
    observed: Estimate  # share of positives, with its interval by patient


def log_losses(truth: np.ndarray, q: np.ndarray) -> np.ndarray:
    """-log of the probability that is given to what is true, (n, L); NaN where truth is.

    q is cut to 1e-12 and 1 - 2^-25, so that no image is infinite.

    >>> log_losses(np.array([[1, 0]]), np.array([[0.5, 0.2]])).round(4).tolist()
    [[0.6931, 0.2231]]
    """
    q = np.maximum(off_edges(q), SUREST)
    return -(truth * np.log(q) + (1 - truth) * np.log1p(-q))


def squared_errors(truth: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(y - q)^2 of each image and label, whose mean is the Brier score; (n, L), NaN where truth is."""
    return np.asarray((truth - q) ** 2)


def brier_skills(truth: np.ndarray, q: np.ndarray, prevalence: np.ndarray) -> np.ndarray:
    """Images' parts (n, L) in the Brier skill 1 - Brier / (pi (1 - pi)), which is their mean.

    It is 0 for predicting the prevalence everywhere and 1 where certainty is right.

    Args:
        truth, q: (n, L).
        prevalence: (L,) pi, taken out of fold as known numbers; a label with 0, 1 or NaN has no skill (NaN).
    """
    chance = np.asarray(prevalence, dtype=np.float64) * (1 - np.asarray(prevalence))
    return 1 - squared_errors(truth, q) / np.where(chance > 0, chance, np.nan)


def macro_parts(cells: np.ndarray) -> np.ndarray:
    """Images' parts (n,) in the mean over labels of the columns' means, which is their mean.

    Where every cell is known they are the rows' means. Their spread is that of the macro mean also where labels
    have different unknown cells; a row without a known cell is NaN, a label without one takes no part.

    >>> macro_parts(np.array([[1.0, 4.0], [3.0, np.nan]])).tolist()  # means 2 and 4, so 3
    [2.5, 3.5]
    """
    cells = np.asarray(cells, dtype=np.float64)
    cells = cells[:, ~np.isnan(cells).all(axis=0)]
    known = ~np.isnan(cells)
    if not cells.size:
        return np.full(len(cells), np.nan)
    means = np.nanmean(cells, axis=0)
    used = known.any(axis=1)
    off = np.where(known, cells - means, 0) / known.sum(axis=0)
    return np.where(used, means.mean() + used.sum() * off.mean(axis=1), np.nan)


def equal_mass_bins(q: np.ndarray, bins: int = BINS) -> list[np.ndarray]:
    """Rows of q (n,) in up to `bins` parts of equal size (they differ by one at most) by rank, ties by row order.

    >>> [rows.tolist() for rows in equal_mass_bins(np.array([0.6, 0.2, 0.2, 0.9]), bins=2)]
    [[1, 2], [0, 3]]
    """
    parts = np.array_split(np.argsort(q, kind="stable"), bins)
    return [rows for rows in parts if len(rows)]


def calibration_error(
    truth: np.ndarray, q: np.ndarray, patients: np.ndarray, bins: int = BINS
) -> list[CalibrationError]:
    """Calibration error of each label, without what chance adds (Kumar et al. 2019, here by patient).

    CE2 = sum_b n_b / n (r_b^2 - V_b), r_b the mean of y - q in bin b and V_b the variance of that mean over the bin's
    patients. A bin of one patient adds nothing and is counted.
    """
    found = []
    for y, p in zip(np.asarray(truth, dtype=np.float64).T, q.T, strict=True):
        known = ~np.isnan(y)
        off, who = (y - p)[known], patients[known]
        total, left_out = 0.0, 0
        for rows in equal_mass_bins(p[known], bins):
            mean, size = off[rows].mean(), len(rows)
            variance = patient_sandwich(np.array([[size]]), (off[rows] - mean)[:, None], who[rows])[0, 0]
            if np.isnan(variance):
                left_out += 1
            else:
                total += size / len(off) * (mean**2 - variance)
        found.append(CalibrationError(float(total) if len(off) else float("nan"), left_out))
    return found


def reliability_curve(
    truth: np.ndarray, q: np.ndarray, patients: np.ndarray, bins: int = BINS
) -> list[list[ReliabilityBin]]:
    """The bins of each label, by rising q: mean q against the observed share."""
    curves = []
    for y, p in zip(np.asarray(truth, dtype=np.float64).T, q.T, strict=True):
        known = ~np.isnan(y)
        y, p, who = y[known], p[known], patients[known]
        rows = equal_mass_bins(p, bins)
        curves.append(
            [
                ReliabilityBin(float(p[row].mean()), proportion(y[row], who[row], positive=y[row]))
                for row in rows
            ]
        )
    return curves


def too_few_to_judge(truth: np.ndarray) -> np.ndarray:
    """(L,) True where truth (n, L) has fewer than 100 positives or negatives: the curve is mostly noise."""
    return ((truth == 1).sum(axis=0) < FEWEST_OF_A_CLASS) | ((truth == 0).sum(axis=0) < FEWEST_OF_A_CLASS)
