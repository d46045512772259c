"""Logistic regression of one target on few or many sources with an L1 penalty, solved until its optimality shows it.

A convex problem: whatever solves it finds the same minimum. Newton's quadratic model with coordinate descent
(Friedman, Hastie and Tibshirani 2010; Lee, Sun and Saunders 2014) on the sources that can be other than 0 takes a few
passes over the images where a proximal gradient takes hundreds, and a permutation test solves it hundreds of times.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit

MOST_STEPS, MOST_SWEEPS = 200, 1000
LEAST_CURVATURE = 1e-12
EXACT = 1e-13  # a residual that is rounding
LEAST_EIGENVALUE = 1e-6  # of the features' correlations: two that are the same have 0


class Penalised(NamedTuple):
    """The minimum: z = intercept + scale * own + weights @ sources, and how far it is from optimal."""

    intercept: float
    scale: float
    weights: np.ndarray
    residual: float


def l1_logistic(
    truth: np.ndarray,
    own: np.ndarray,
    sources: np.ndarray,
    penalty: float,
    precision: float,
    tolerance: float,
    start: tuple[float, float] = (0.0, 1.0),
    weights: np.ndarray | None = None,
) -> Penalised:
    """Minimise mean(log(1 + e^z) - y z) + penalty * sum |weights| + precision * (scale - 1)^2 / 2, with scale >= 0.

    z = intercept + scale * own + sum_i weights_i sources_i. The mean is over rows, each as often as `weights` says.

    Args:
        truth: (n,) of 0 and 1, both of them.
        own: (n,) the target's own evidence, in log odds.
        sources: (m, n), each about of variance 1, a row of zeros for one that takes no part.
        penalty: above 0.
        precision: of the prior of `scale` around 1, divided by the number of rows; 0: none.
        tolerance: of `residual`, the largest violation of the optimality conditions.
        start: intercept and scale to begin from.
        weights: (n,) how often each row counts; None: once.

    Returns:
        Weights are exactly 0 where |gradient| stays below the penalty.
    """
    counts = np.full(len(truth), 1 / len(truth)) if weights is None else weights / weights.sum()
    found = np.zeros(len(sources))
    theta, used = np.array(start), np.zeros(0, dtype=np.int64)
    while True:
        features = np.vstack([np.ones(len(truth)), own, sources[used]])
        theta, error = _solve(truth, features, counts, theta, penalty, precision, tolerance)
        found[:] = 0
        found[used] = theta[2:]
        gradient = np.abs(sources @ (counts * (expit(theta @ features) - truth)))
        gradient[used] = 0
        missing = np.flatnonzero(gradient > penalty + tolerance)
        if not len(missing):
            residual = max(error, float(gradient.max(initial=0.0)) - penalty)
            return Penalised(float(theta[0]), float(theta[1]), found, max(residual, 0.0))
        used = np.append(used, missing)
        theta = np.append(theta, np.zeros(len(missing)))


def _solve(
    truth: np.ndarray,
    features: np.ndarray,
    counts: np.ndarray,
    theta: np.ndarray,
    penalty: float,
    precision: float,
    tolerance: float,
) -> tuple[np.ndarray, float]:
    """The minimum over these features alone: (2 + m,) intercept, scale and weights, and its residual."""
    l1 = np.full(len(theta), penalty)
    l1[:2] = 0
    ridge = np.zeros(len(theta))
    ridge[1] = precision
    middle = np.zeros(len(theta))
    middle[1] = 1

    def loss(at: np.ndarray) -> float:
        z = at @ features
        data = counts @ (np.logaddexp(0, z) - truth * z)
        return float(data + l1 @ np.abs(at) + (ridge * (at - middle) ** 2).sum() / 2)

    value = loss(theta)
    for _ in range(MOST_STEPS):
        p = expit(theta @ features)
        gradient = features @ (counts * (p - truth)) + ridge * (theta - middle)
        residual = _residual(theta, gradient, l1)
        if residual <= tolerance:
            break
        curvature = (features * (counts * p * (1 - p))) @ features.T + np.diag(ridge + LEAST_CURVATURE)
        step = _quadratic_minimum(theta, gradient, curvature, l1) - theta
        while loss(theta + step) > value:
            step = step / 2
            if (theta + step == theta).all():  # at the minimum, to the last digit
                return theta, residual
        theta = theta + step
        value = loss(theta)
    return theta, residual


def _residual(theta: np.ndarray, gradient: np.ndarray, l1: np.ndarray) -> float:
    """The largest violation of the Karush-Kuhn-Tucker conditions."""
    at_zero = np.maximum(np.abs(gradient) - l1, 0)
    at_zero[1] = max(-gradient[1], 0)  # the scale may not go below 0
    elsewhere = np.abs(gradient + l1 * np.sign(theta))
    return float(np.where(theta == 0, at_zero, elsewhere)[1:].max(initial=abs(gradient[0])))


def _quadratic_minimum(
    theta: np.ndarray, gradient: np.ndarray, curvature: np.ndarray, l1: np.ndarray
) -> np.ndarray:
    """theta + d, with the least gradient' d + d' curvature d / 2 + l1' |theta + d|, one coordinate at a time.

    Once a pass has left all signs as they were, they are nearly always the minimum's, which a linear system then gives.
    """
    at, slope = theta.copy(), gradient.copy()
    tried = None
    diagonal = curvature.diagonal().tolist()
    bounds = l1.tolist()
    for _ in range(MOST_SWEEPS):
        largest, signs = 0.0, np.sign(at)
        for k, own in enumerate(diagonal):
            before = float(at[k])
            there = before - float(slope[k]) / own
            if k == 1:
                after = max(there, 0.0)
            elif k:
                bound = bounds[k] / own
                after = there - bound if there > bound else there + bound if there < -bound else 0.0
            else:
                after = there
            if after != before:
                at[k] = after
                slope += curvature[k] * (after - before)
                largest = max(largest, abs(after - before) * own)
        if largest <= 1e-14:
            break
        if (np.sign(at) == signs).all() and (tried is None or (tried != signs).any()):
            tried = signs
            found = _minimum_with_signs(signs, theta, gradient, curvature, l1)
            if found is not None:
                return found
    return at


def _minimum_with_signs(
    signs: np.ndarray, theta: np.ndarray, gradient: np.ndarray, curvature: np.ndarray, l1: np.ndarray
) -> np.ndarray | None:
    """What `_quadratic_minimum` looks for if it has these signs; else, or where features are nearly the same, None."""
    free = signs != 0
    free[0] = True  # the intercept has no bound
    inside = curvature[np.ix_(free, free)]
    size = np.sqrt(inside.diagonal())
    if np.linalg.eigvalsh(inside / np.outer(size, size))[0] < LEAST_EIGENVALUE:
        return None  # how such features share their weight would be decided by rounding
    step = np.where(free, 0.0, -theta)
    wanted = -(gradient + curvature @ step + l1 * signs)
    step[free] = np.linalg.solve(inside, wanted[free])
    at = theta + step
    if at[1] < 0:  # the scale has no bound by which the residual would tell
        return None
    return at if _residual(at, gradient + curvature @ step, l1) <= EXACT else None
