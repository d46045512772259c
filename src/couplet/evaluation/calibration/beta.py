"""Beta calibration (Kull, Silva Filho and Flach 2017): logit q = a log p - b log(1 - p) + c, with a prior on (a, b, c).

With a, b > 0 it is strictly rising: rankings, and so AUC and mAP of a label, stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from couplet.evaluation.calibration.logistic import fit_logistic

PRECISION = np.array([1.0, 1.0, 0.25])  # the prior's standard deviations are 1, 1 and 2
# Half-way between 0 and the smallest float32 above it, and between 1 and the largest below it: a network's outputs
# are float32, so that nothing but 0 and 1 moves, and both stay the ends.
LEAST, MOST = 2.0**-150, 1 - 2.0**-25


@dataclass(frozen=True)
class BetaMap:
    """logit q = a log p - b log(1 - p) + c; (1, 1, 0) changes nothing."""

    a: float
    b: float
    c: float

    def logit(self, p: np.ndarray) -> np.ndarray:
        """Log odds of the calibrated probability, finite; p of any shape, in [0, 1].

        >>> BetaMap(1.0, 1.0, 0.0).logit(np.array([0.5, 0.8])).round(4).tolist()
        [0.0, 1.3863]
        """
        p = off_edges(p)
        return self.a * np.log(p) - self.b * np.log1p(-p) + self.c

    def rounded(self) -> BetaMap:
        """As it is written, with 9 significant digits."""
        return BetaMap(*(nine_digits(value) for value in (self.a, self.b, self.c)))


def nine_digits(value: float) -> float:
    """A number as it is written, with 9 significant digits.

    >>> nine_digits(1 / 3)
    0.333333333
    """
    return float(f"{value:.9g}")


def off_edges(p: np.ndarray) -> np.ndarray:
    """Probabilities within 2^-150 and 1 - 2^-25: of a float32's values 0 and 1 alone move, and every order stays.

    With a larger value in the place of 0, the least sure of the certain would overtake what is nearly 0.

    >>> off_edges(np.array([0.0, 1e-9, 1.0])).tolist()
    [7.006492321624085e-46, 1e-09, 0.9999999701976776]
    """
    return np.clip(np.asarray(p, dtype=np.float64), LEAST, MOST)


def fit_beta(p: np.ndarray, truth: np.ndarray, prior: BetaMap) -> BetaMap:
    """Penalised maximum likelihood of a beta map with a, b >= 0.

    Minimises sum(log(1 + e^z) - y z) + (a - a0)^2 / 2 + (b - b0)^2 / 2 + (c - c0)^2 / 8. Where its minimum has a
    negative a or b, that is 0 and the others are fitted again, which is the minimum among a, b >= 0.

    Args:
        p: (n,) outputs in [0, 1].
        truth: (n,) of 0, 1 or NaN; an unknown row counts for nothing.
        prior: (a0, b0, c0), the result without rows.

    See Also:
        couplet.evaluation.calibration.inverse.priors_of: the priors of a loss.
    """
    known = ~np.isnan(truth)
    if not known.any():
        return prior
    p, truth = off_edges(p[known]), truth[known].astype(np.float64)
    features = np.stack([np.log(p), -np.log1p(-p), np.ones(len(p))])
    mean = np.array([prior.a, prior.b, prior.c])
    found, _ = fit_logistic(features, truth, mean, PRECISION)
    if (found[:2] < 0).any():
        found = _on_the_edge(features, truth, mean)
    return BetaMap(*found.tolist())


def _on_the_edge(features: np.ndarray, truth: np.ndarray, mean: np.ndarray) -> np.ndarray:
    best, least = np.zeros(3), np.inf
    for free in ([1, 2], [0, 2], [2]):  # a = 0, b = 0, both
        found = np.zeros(3)
        found[free], value = fit_logistic(features[free], truth, mean[free], PRECISION[free])
        # What is fixed pays for its distance from the prior too.
        value += float((PRECISION * (found - mean) ** 2)[[i for i in range(3) if i not in free]].sum() / 2)
        if (found[:2] >= 0).all() and value < least:
            best, least = found, value
    return best
