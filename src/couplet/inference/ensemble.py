"""The fold ensemble."""

from __future__ import annotations

import numpy as np


def mean_over_folds(probabilities: list[np.ndarray]) -> np.ndarray:
    """Arithmetic mean of the folds' probabilities, each (N, L) (paper 1, "Evaluation"), rounded to float32.

    >>> mean_over_folds([np.array([[0.2]]), np.array([[0.6]])]).round(6)
    array([[0.4]])
    """
    return np.mean(probabilities, axis=0).astype(np.float32).astype(np.float64)
