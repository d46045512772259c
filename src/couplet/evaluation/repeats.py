"""How sure a mean over repeats of the training is: the repeats differ, and they share their patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """The standard error of a mean over repeats, and what it is made of.

    Attributes:
        error: standard error.
        df: its degrees of freedom; infinite where patients alone decide.
        between_repeats: variance of the repeats' values, S_D^2; None for one repeat.
        common: variance that all repeats share, C: the patients.
        own: patients' variance that each repeat has of its own, W.
    """

    error: float
    df: float
    between_repeats: float | None
    common: float
    own: float


def spread(values: np.ndarray, covariance: np.ndarray, df_single: float = np.inf) -> Spread:
    """The standard error of the mean of S repeats that share their patients.

    C = max(mean_{s != s'} V_ss', 0) is common to all repeats, W = max(mean_s V_ss - C, 0) is each one's own:
    SE^2 = max(S_D^2, W) / S + C, and df = SE^4 / ((S_D^2 / S)^2 / (S-1)) where S_D^2 > W, else infinite.

    Args:
        values: (S,) D_s.
        covariance: (S, S) V.
        df_single: degrees of freedom for S = 1, where SE^2 = V.

    >>> s = spread(np.array([0.01, 0.03]), np.array([[4e-4, 1e-4], [1e-4, 4e-4]]))
    >>> round(s.error, 6), s.df
    (0.015811, inf)
    """
    n = len(values)
    mean_variance = float(np.trace(covariance)) / n
    if n == 1:
        return Spread(mean_variance**0.5, df_single, None, mean_variance, 0.0)
    between = float(np.var(values, ddof=1))
    common = max((float(covariance.sum()) - n * mean_variance) / (n * (n - 1)), 0.0)
    own = max(mean_variance - common, 0.0)
    squared = max(between, own) / n + common
    df = squared**2 / ((between / n) ** 2 / (n - 1)) if between > own else np.inf
    return Spread(squared**0.5, df, between, common, own)
