"""How good a split is: balance of labels and of label pairs over folds, and patients that leak."""

from __future__ import annotations

import numpy as np
import pandas as pd


def label_distribution_deviation(truth: np.ndarray, folds: np.ndarray) -> float:
    """Mean over folds j and labels l of |c_jl / (s_j - c_jl) - C_l / (n - C_l)| (Sechidis et al. 2011).

    s_j rows of n are in fold j; c_jl and C_l are positives of label l in fold j and in all rows. A label that
    every row has deviates by 0. Where only every row of a fold has it, the odds there would be infinite:
    c_jl / 1 is taken, as if one row had not.

    Args:
        truth: (N, L) of 1, 0 or NaN; an unknown counts as no positive.
        folds: (N,) fold of each row, any numbers or names.

    Returns:
        The deviation, 0 for perfect balance; NaN without rows or labels.

    Two folds of 4 rows with 1 and 2 positives: |1/3 - 3/5| and |2/2 - 3/5|.

    >>> truth = np.array([[1], [0], [0], [0], [1], [1], [0], [0]])
    >>> round(label_distribution_deviation(truth, np.array([0, 0, 0, 0, 1, 1, 1, 1])), 4)
    0.3333
    """
    positive_NL, size_J, rows_J = _by_fold(truth, folds)
    count_JL = np.array([positive_NL[rows].sum(axis=0) for rows in rows_J])
    return _mean_deviation(count_JL, size_J)


def label_pair_distribution_deviation(truth: np.ndarray, folds: np.ndarray) -> float:
    """The same deviation over the label pairs a < b that occur at all (Szymanski and Kajdanowicz 2017).

    Args:
        truth: (N, L) of 1, 0 or NaN.
        folds: (N,) fold of each row.

    Returns:
        The deviation; NaN where no two labels occur together.

    >>> truth = np.array([[1, 1], [0, 1], [1, 1], [1, 0]])
    >>> label_pair_distribution_deviation(truth, np.array([0, 0, 1, 1]))
    0.0
    """
    positive_NL, size_J, rows_J = _by_fold(truth, folds)
    first, second = np.triu_indices(positive_NL.shape[1], k=1)
    # float64 products of 0/1 matrices are exact and use the fast matrix product.
    positive_J = (positive_NL[rows].astype(np.float64) for rows in rows_J)
    count_JP = np.array([(one.T @ one)[first, second] for one in positive_J]).reshape(len(size_J), -1)
    return _mean_deviation(count_JP[:, count_JP.sum(axis=0) > 0], size_J)


def patients_in_two_folds(groups: np.ndarray, folds: np.ndarray) -> int:
    """Number of patients whose rows are in more than one fold (or part).

    >>> patients_in_two_folds(np.array(["a", "a", "b", "b", "c"]), np.array([0, 1, 1, 1, 0]))
    1
    """
    pairs = pd.DataFrame({"group": groups, "fold": folds}).drop_duplicates()
    return int((pairs["group"].value_counts() > 1).sum())


def _by_fold(truth: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """(N, L) positives, (J,) sizes and the rows of each of the J folds."""
    _, fold = np.unique(folds, return_inverse=True)
    size_J = np.bincount(fold)
    rows_J = np.split(np.argsort(fold, kind="stable"), np.cumsum(size_J)[:-1])
    return np.asarray(truth) == 1, size_J, rows_J


def _mean_deviation(count: np.ndarray, size: np.ndarray) -> float:
    """Mean of |odds in fold - odds in all|, for (J, F) counts in folds of (J,) sizes."""
    if count.size == 0 or size.sum() == 0:
        return float("nan")
    total = count.sum(axis=0)
    odds = count / np.maximum(size[:, None] - count, 1)
    deviation = np.abs(odds - total / np.maximum(size.sum() - total, 1))
    return float(np.where(total < size.sum(), deviation, 0).mean())
