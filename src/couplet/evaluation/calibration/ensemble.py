"""A mean over models is less sure than each of them: by how much its calibrated log odds must be stretched.

Out of fold there is one honest model per image, so the correction cannot be fitted there. It follows from how much
the models disagree, as a regression's slope follows from the noise of what it is on (regression dilution). No label
is read.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logit

CUT = 13.8  # log odds of one in a million
FEWEST_IMAGES = 50
LEAST, MOST = 1.0, 2.0


def kappa(oof: np.ndarray, folds: np.ndarray) -> float:
    """v / (v - (1 - 1/K) v_b), within [1, 2]: the stretch of one label's calibrated log odds.

    v is the variance of `oof`, v_b the mean over test images of the variance over the K models; log odds are cut to
    -+13.8 first. The models' own noise is in v and, divided by K, in their mean.

    Args:
        oof: (n,) calibrated log odds of images out of fold, those with a known truth.
        folds: (K, n_test) calibrated log odds that each fold's model gives the test images.

    Returns:
        1 with one model, or with fewer than 50 test images.
    """
    n_models, n_images = np.shape(folds)
    if n_models < 2 or n_images < FEWEST_IMAGES or len(oof) < 2:
        return LEAST
    variance = float(np.clip(oof, -CUT, CUT).var(ddof=1))
    within = float(np.clip(folds, -CUT, CUT).var(axis=0, ddof=1).mean())
    return stretch(variance, within, n_models)


def stretch(variance: float, within: float, n_models: int) -> float:
    """`kappa` of the two variances.

    >>> round(stretch(4.0, 0.6, 3), 4)
    1.1111
    """
    shared = variance - (1 - 1 / n_models) * within
    if variance == 0:
        return LEAST
    return min(max(variance / shared, LEAST), MOST) if shared > 0 else MOST


def stretched(z: np.ndarray, factor: float, prevalence: float) -> np.ndarray:
    """logit pi + kappa (z - logit pi): log odds z of any shape, stretched away from those of the prevalence.

    >>> stretched(logit(np.array([0.2, 0.5])), 2.0, 0.2).round(4).tolist()
    [-1.3863, 1.3863]
    """
    if factor == 1:
        return z
    middle = float(logit(prevalence))
    return middle + factor * (z - middle)
