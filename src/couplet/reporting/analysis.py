"""The report's own arithmetic: agreement of folds, correlations, couplings, calibration. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from couplet.evaluation.metrics import THRESHOLD

SMALL = 1e-3  # couplings below this count as zero (paper 1, Fig. 7)


@dataclass(frozen=True)
class Agreement:
    """How often K folds say the same about the same image and label, at THRESHOLD."""

    votes: np.ndarray  # (K + 1,) cells that 0, 1 ... K folds call positive
    per_label: np.ndarray  # (L, K + 1) the same per label, as shares of that label's cells
    agreement: np.ndarray  # (K, K) share of cells in which two folds say the same
    kappa: np.ndarray  # (K, K) Cohen's kappa; NaN where both folds always give one and the same answer

    @property
    def unanimous(self) -> float:
        """Share of cells in which all folds say the same."""
        return float((self.votes[0] + self.votes[-1]) / self.votes.sum())

    @property
    def split_per_label(self) -> np.ndarray:
        """(L,) share of images on which the folds disagree."""
        return self.per_label[:, 1:-1].sum(axis=1)


def fold_agreement(probabilities: np.ndarray, threshold: float = THRESHOLD) -> Agreement:
    """Agreement of K folds' probabilities (K, N, L) over all N x L cells (paper 1, Fig. 4).

    >>> one = np.array([[[0.9, 0.1]], [[0.8, 0.6]]])  # two folds, one image, two labels
    >>> fold_agreement(one).votes.tolist(), fold_agreement(one).unanimous
    ([0, 1, 1], 0.5)

    Raises:
        ValueError: fewer than two folds, or no cell.
    """
    n_folds, n_images, n_labels = probabilities.shape
    if n_folds < 2 or n_images == 0 or n_labels == 0:
        raise ValueError("agreement needs at least two folds and one image")
    said = probabilities >= threshold
    count = said.sum(axis=0)
    per_label = np.stack([(count == k).sum(axis=0) for k in range(n_folds + 1)], axis=1)
    # Pair by pair: as numbers, all folds' answers on 100,000 images of 1,000 labels would take gigabytes.
    both = np.array([[np.count_nonzero(one & other) for other in said] for one in said]) / said[0].size
    positive = np.diag(both)
    agreement = 1 - positive[:, None] - positive[None, :] + 2 * both
    chance = np.outer(positive, positive) + np.outer(1 - positive, 1 - positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = np.where(chance < 1, (agreement - chance) / (1 - chance), np.nan)
    return Agreement(per_label.sum(axis=0), per_label / n_images, agreement, kappa)


def pearson(values: np.ndarray) -> np.ndarray:
    """(L, L) Pearson correlation of the columns of (N, L); NaN cells are left out pair by pair.

    A constant column has no correlation: NaN.
    """
    matrix = pd.DataFrame(values).corr().to_numpy(copy=True)
    # Rounding can leave a constant column a tiny variance: its correlations would be noise.
    constant = np.array([np.unique(column[np.isfinite(column)]).size < 2 for column in values.T])
    matrix[constant, :] = matrix[:, constant] = np.nan
    return matrix


def across_fold_std(probabilities: np.ndarray) -> np.ndarray:
    """(L,) mean over images of the standard deviation (ddof 0) of (K, N, L) over folds (paper 1, Fig. 6)."""
    return probabilities.std(axis=0).mean(axis=0)


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
    """The L (L - 1) entries of (L, L) beside the diagonal, row by row."""
    return matrix[~np.eye(len(matrix), dtype=bool)]


def small_share(couplings: np.ndarray, threshold: float = SMALL) -> float:
    """Share of the off-diagonal couplings with |A| < threshold; NaN for a single label.

    >>> small_share(np.array([[0.0, 0.2], [0.0005, 0.0]]))
    0.5
    """
    values = np.abs(off_diagonal(couplings))
    return float((values < threshold).mean()) if values.size else float("nan")


def sample_rows(truth: np.ndarray, groups: np.ndarray, keys: np.ndarray, n: int) -> np.ndarray:
    """Rows of up to n images that show a label, in a drawn order, of different groups first.

    Args:
        truth: (N,) 0, 1 or NaN, one label.
        groups: (N,) patient of each image.
        keys: (N,) a number per image that fixes the draw: `couplet.images.loading.draws.image_keys`.
        n: how many.
    """
    rows = np.flatnonzero(truth == 1)
    rows = rows[np.argsort(keys[rows], kind="stable")]
    _, first = np.unique(groups[rows], return_index=True)
    chosen = np.sort(first)
    again = np.setdiff1d(np.arange(len(rows)), chosen)
    return rows[np.concatenate([chosen, again])[:n].astype(np.int64)]
