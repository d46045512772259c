"""Folds by image where the paper's splitter cannot run, and the choice of a splitter that names itself."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from couplet.splits.mis import multilabel_stratified_folds, stratified_group_folds

GROUPED = "grouped second-order stratification"
BY_IMAGE = "MultilabelStratifiedKFold"
FALLBACK = "StratifiedKFold over label combinations"


def stratified_folds(
    truth: np.ndarray, groups: np.ndarray | None, n_folds: int, seed: int
) -> tuple[np.ndarray, str]:
    """Folds of rows that are sorted by image id, by the best splitter that can run, and that splitter's name.

    With groups: grouped second-order stratification, which always can. Without: MultilabelStratifiedKFold as
    in the first paper; for a single label, or without the package, StratifiedKFold over label combinations.

    >>> stratified_folds(np.eye(4), np.arange(4), n_folds=2, seed=42)[1]
    'grouped second-order stratification'
    """
    if groups is not None:
        return stratified_group_folds(truth, groups, n_folds, seed), GROUPED
    if truth.shape[1] > 1 and find_spec("iterstrat") is not None:
        return multilabel_stratified_folds(truth, n_folds, seed), BY_IMAGE
    return label_combination_folds(truth, n_folds, seed), FALLBACK


def label_combination_folds(truth: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """StratifiedKFold where each combination of labels is a class.

    A combination with fewer rows than folds is merged into the class of its rarest label alone (the label
    with the fewest positives, the first of several); a class that is still too small joins the largest one.

    Args:
        truth: (N, L) of 1, 0 or NaN; an unknown counts as no positive. Sort the rows by image id first.
        n_folds: K, at least 2 and at most N.
        seed: random_state of the shuffle within classes.

    Returns:
        (N,) int64, the fold 0 .. K-1 of each row.

    Raises:
        ValueError: fewer rows than folds.
    """
    # Late: scikit-learn takes a second to import, and this splitter is the last resort.
    from sklearn.model_selection import StratifiedKFold

    if len(truth) < n_folds:
        raise ValueError(f"{n_folds} folds need at least {n_folds} rows, not {len(truth)}")
    combination = _combination_classes(np.asarray(truth) == 1, n_folds)
    splitter = StratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    folds = np.empty(len(truth), dtype=np.int64)
    for fold, (_, rows) in enumerate(splitter.split(combination, combination)):
        folds[rows] = fold
    return folds


def _combination_classes(positive: np.ndarray, smallest: int) -> np.ndarray:
    """(N,) class of each row; each class has at least `smallest` rows if there are as many."""
    # Labels from the rarest to the most common: the first positive of a row is its rarest label.
    by_rarity = np.argsort(positive.sum(axis=0), kind="stable")
    rarest = by_rarity[positive[:, by_rarity].argmax(axis=1)]
    alone = np.zeros_like(positive)
    alone[np.arange(len(positive)), rarest] = positive.any(axis=1)

    _, combination, count = np.unique(positive, axis=0, return_inverse=True, return_counts=True)
    merged = np.where((count[combination] < smallest)[:, None], alone, positive)
    _, combination, count = np.unique(merged, axis=0, return_inverse=True, return_counts=True)
    return np.where(count[combination] < smallest, count.argmax(), combination)
