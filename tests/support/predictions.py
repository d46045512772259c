"""Predictions for tests of numbers: few distinct scores, unknown cells, patients of several images."""

from __future__ import annotations

import numpy as np


def drawn_predictions(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(truth, scores, patients): three labels of about 10, 40 and 80 %, scores of one decimal, 60 patients."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 3)) < [0.1, 0.4, 0.8]).astype(float)
    scores = (rng.random((n, 3)) * 0.7 + truth * 0.3).round(1)
    truth[rng.random((n, 3)) < 0.15] = np.nan
    return truth, scores, rng.integers(0, 60, n)
