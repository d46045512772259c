"""Logistic regression on a few features by Newton's method, with a normal prior on each coefficient."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

STOP, MOST_STEPS = 1e-10, 100


def fit_logistic(
    features: np.ndarray,
    truth: np.ndarray,
    start: np.ndarray,
    precision: np.ndarray | None = None,
    offset: np.ndarray | float = 0.0,
) -> tuple[np.ndarray, float]:
    """Minimise sum(log(1 + e^z) - y z) + sum(precision (coefficients - start)^2) / 2, z = features' sum + offset.

    Newton's steps from `start`, halved until the loss does not rise, until it changes by less than 1e-10 of itself or
    100 steps are done. Without precision the caller sees to it that there is a minimum.

    Args:
        features: (k, n), finite.
        truth: (n,) of 0 and 1.
        start: (k,) where it begins, and the prior's mean.
        precision: (k,) of the prior, 1 / variance; None: none.
        offset: (n,) or a number, added to z.

    Returns:
        (k,) coefficients and what is minimised there.
    """
    weight = np.zeros(len(start)) if precision is None else precision

    def loss(coefficients: np.ndarray) -> float:
        z = coefficients @ features + offset
        penalty = 0.0 if precision is None else (weight * (coefficients - start) ** 2).sum() / 2
        return float((np.logaddexp(0, z) - truth * z).sum() + penalty)

    found, value = np.array(start, dtype=np.float64), loss(start)
    for _ in range(MOST_STEPS):
        z = found @ features + offset
        gradient = features @ (expit(z) - truth) + weight * (found - start)
        # Least squares, since among a few certain images the second derivatives may have no inverse.
        step = np.linalg.lstsq(information(features, z) + np.diag(weight), gradient, rcond=None)[0]
        while True:
            tried = found - step
            new = loss(tried)
            if new <= value:
                break
            step = step / 2
            if (found - step == found).all():  # already at the minimum, to the last digit
                return found, value
        done = value - new <= STOP * abs(new)
        found, value = tried, new
        if done:
            break
    return found, value


def information(features: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(k, k) second derivatives of the loss without a prior, at log odds z (n,)."""
    # As a product of two it is above 0 also where a probability rounds to 1.
    return (features * (expit(z) * expit(-z))) @ features.T
