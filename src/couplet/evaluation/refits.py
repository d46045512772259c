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
    parabolas = _Parabolas(maps, priors, truth, p, patients)

    def refit(draws: np.ndarray) -> Calibrator:
        a, b, c = np.moveaxis(parabolas.lowest(draws), -1, 0)
        return lambda scores: expit(a * np.log(off_edges(scores)) - b * np.log1p(-off_edges(scores)) + c)

    return refit


class _Parabolas:
    """What is minimised for each of L labels, to second order around its fitted map. G patients.

    Attributes:
        at: (L, 3) the fitted (a, b, c).
        scores: (L, 3, G) each patient's, there.
        pull: (L, 3) the prior's.
        information: (L, 3, 3) second derivatives, the prior's included.
    """

    def __init__(
        self,
        maps: Sequence[BetaMap],
        priors: Sequence[BetaMap],
        truth: np.ndarray,
        p: np.ndarray,
        patients: np.ndarray,
    ) -> None:
        n_patients = int(patients.max(initial=-1)) + 1
        self.at = np.array([[one.a, one.b, one.c] for one in maps])
        self.pull = PRECISION * (np.array([[one.a, one.b, one.c] for one in priors]) - self.at)
        self.scores = np.zeros((len(maps), 3, n_patients))
        self.information = np.zeros((len(maps), 3, 3))
        for label, fitted in enumerate(maps):
            y = truth[:, label]
            known = ~np.isnan(y)
            y, output, patients_of = y[known], off_edges(p[known, label]), patients[known]
            features = np.stack([np.log(output), -np.log1p(-output), np.ones(len(output))])
            z = fitted.logit(output)
            # Where a class is missing the map is the prior, and no patient has a say.
            score = (y - expit(z)) * (0 < y.sum() < len(y))
            for row, feature in enumerate(features * score):
                self.scores[label, row] = np.bincount(patients_of, feature, n_patients)
            self.information[label] = information(features, z) + np.diag(PRECISION)

    def lowest(self, draws: np.ndarray) -> np.ndarray:
        """(R, L, 3) a, b and c of resamples: the lowest points with a, b >= 0, found by fixing none, one or both at 0.

        Args:
            draws: (R, G) how often each resample has each patient.
        """
        # One after the other: together they would be copied, all draws of all patients, to floating numbers.
        slope = np.stack([self.scores @ draw for draw in draws]) + self.pull
        best = np.broadcast_to(self.at, slope.shape).copy()
        least = np.full(slope.shape[:2], np.inf)
        for fixed in ([], [0], [1], [0, 1]):
            free = [index for index in range(3) if index not in fixed]
            move = np.broadcast_to(-self.at, slope.shape).copy()
            move[..., free] = 0
            against = slope - np.einsum("lij,rlj->rli", self.information, move)
            inside = self.information[:, free][:, :, free]
            move[..., free] = np.linalg.solve(inside, against[..., free, None])[..., 0]
            bent = np.einsum("lij,rlj->rli", self.information, move)
            height = (move * bent).sum(axis=-1) / 2 - (slope * move).sum(axis=-1)
            lower = (self.at[:, :2] + move[..., :2] >= -1e-12).all(axis=-1) & (height < least)
            best[lower], least[lower] = (self.at + move)[lower], height[lower]
        return np.maximum(best, [0, 0, -np.inf])
