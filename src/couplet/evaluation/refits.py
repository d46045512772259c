"""Calibrators of resampled patients, fast: what the spread of a threshold on calibrated probabilities comes from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from couplet.evaluation.calibration.beta import PRECISION, BetaMap, off_edges
from couplet.evaluation.calibration.logistic import information
from couplet.evaluation.decisions import Calibrator
from couplet.evaluation.hits import checked_codes
from couplet.evaluation.threshold_range import Refit


def one_step_refit(
    maps: Sequence[BetaMap],
    priors: Sequence[BetaMap],
    truth: np.ndarray,
    p: np.ndarray,
    patients: np.ndarray,
) -> Refit:
    """Beta maps of resamples by one Newton step each from the maps of the data: exact to first order, and fast.

    With the score s_g of patient g, the prior's and the information H, all at the fitted map, a resample that has the
    patient c_g times is fitted by the minimum among a, b >= 0 of the parabola that they give.

    Args:
        maps: of L labels, fitted on these rows with the prior's precision of `couplet.evaluation.calibration.beta`.
        priors: of L labels.
        truth: (n, L) of 1, 0 or NaN.
        p: (n, L) outputs in [0, 1].
        patients: (n,) codes from 0.
    """
    patients = checked_codes(patients, len(truth), "patients")
    steps = [
        _Parabola(one, prior, truth[:, label], p[:, label], patients)
        for label, (one, prior) in enumerate(zip(maps, priors, strict=True))
    ]

    def refit(draw: np.ndarray) -> Calibrator:
        a, b, c = np.array([step.lowest(draw) for step in steps]).T
        return lambda scores: expit(a * np.log(off_edges(scores)) - b * np.log1p(-off_edges(scores)) + c)

    return refit


class _Parabola:
    """What is minimised for a label, to second order around its fitted map."""

    def __init__(
        self, fitted: BetaMap, prior: BetaMap, truth: np.ndarray, p: np.ndarray, patients: np.ndarray
    ) -> None:
        known = ~np.isnan(truth)
        truth, p, patients_of = truth[known], off_edges(p[known]), patients[known]
        features, z = np.stack([np.log(p), -np.log1p(-p), np.ones(len(p))]), fitted.logit(p)
        # Where a class is missing the map is the prior, and no patient has a say.
        score = (truth - expit(z)) * (0 < truth.sum() < len(truth))
        n_patients = int(patients.max(initial=-1)) + 1
        self.at = np.array([fitted.a, fitted.b, fitted.c])
        self.scores = np.stack([np.bincount(patients_of, row, n_patients) for row in features * score])
        self.pull = PRECISION * (np.array([prior.a, prior.b, prior.c]) - self.at)
        self.information = information(features, z) + np.diag(PRECISION)

    def lowest(self, draw: np.ndarray) -> np.ndarray:
        """(a, b, c) of a resample: the lowest point with a, b >= 0, found by fixing none, one or both at 0."""
        slope = self.scores @ draw + self.pull
        best, least = self.at, np.inf
        for fixed in ([], [0], [1], [0, 1]):
            free = [index for index in range(3) if index not in fixed]
            move = -self.at.copy()
            move[free] = 0
            move[free] = np.linalg.solve(
                self.information[np.ix_(free, free)], (slope - self.information @ move)[free]
            )
            height = move @ self.information @ move / 2 - slope @ move
            if (self.at[:2] + move[:2] >= -1e-12).all() and height < least:
                best, least = self.at + move, height
        return np.maximum(best, [0, 0, -np.inf])
