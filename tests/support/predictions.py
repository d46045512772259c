"""Predictions for tests of numbers: few distinct scores, unknown cells, patients of several images."""

from __future__ import annotations

import numpy as np


def drawn_log_odds(
    prevalence: list[float], n: int, seed: int, noise: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Truth and log odds of half / half: x is N(1, 1) in positives, N(-1, 1) in negatives; `noise` spoils label 0."""
    random = np.random.default_rng(seed)
    y = (random.random((n, len(prevalence))) < prevalence).astype(float)
    x = random.normal(2 * y - 1, 1)
    x[:, 0] += noise * random.normal(size=n)
    return y, 2 * x


def drawn_predictions(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(truth, scores, patients): three labels of about 10, 40 and 80 %, scores of one decimal, 60 patients."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 3)) < [0.1, 0.4, 0.8]).astype(float)
    scores = (rng.random((n, 3)) * 0.7 + truth * 0.3).round(1)
    truth[rng.random((n, 3)) < 0.15] = np.nan
    return truth, scores, rng.integers(0, 60, n)
