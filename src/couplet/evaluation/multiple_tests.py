"""p-values of several tests at once, as of all labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values (1979): the chance of any false finding stays below the level. NaN is passed over.

    >>> holm(np.array([0.01, 0.04, 0.03, 0.005])).round(4)
    array([0.03, 0.06, 0.06, 0.02])
    """
    return _adjusted(p, lambda ranked, n: np.maximum.accumulate((n - np.arange(n)) * ranked))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's adjusted p-values (1995): the expected share of false findings. NaN is passed over.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.005])).round(4)
    array([0.02, 0.04, 0.04, 0.02])
    """
    return _adjusted(
        p, lambda ranked, n: np.minimum.accumulate((n / np.arange(1, n + 1) * ranked)[::-1])[::-1]
    )


def _adjusted(p: np.ndarray, rule: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    p = np.asarray(p, np.float64)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(rule(p[order], len(order)), 1.0)
    return adjusted
