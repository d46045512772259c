"""What grouped second-order stratification balances: images, labels, label pairs and unknowns of each group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# Chi-square terms are integers (fixed point), so that no rounding of a sum decides where a patient goes:
# the folds are the same on every machine. 2^26 leaves room for 10^9 counts of one patient.
UNIT = 1 << 26
# With few patients not all counts can be even; labels come before pairs. A label's weight, in pairs, grows
# with the number of pairs that could outvote it: 2 with 14 labels, 6 with 80 (tried: 1 to 48).
LABELS_PER_WEIGHT = 14
# Rows that are counted at once, in whole groups.
BLOCK = 1 << 16


@dataclass(frozen=True)
class GroupCounts:
    """A sparse G x F table, sorted by group and feature: the M cells that are not 0.

    Feature a * L + b (a <= b) is the label pair (a, b), for a = b the label itself; L * L is the number of
    rows; L * L + 1 + l the unknown (or known negative) rows of label l.
    """

    feature: np.ndarray  # (M,) int32
    count: np.ndarray  # (M,) int32, at least 1
    start: np.ndarray  # (G + 1,) group g has cells start[g] .. start[g + 1]
    weight: np.ndarray  # (F,) int64, w_f / C_f in units of 1 / UNIT


def group_counts(truth: np.ndarray, group_of_row: np.ndarray) -> GroupCounts:
    """Count rows, positives, positive pairs and unknowns of each group.

    A block of groups at a time: a million rows may have tens of millions of positive pairs and unknown cells, and
    only their counts per group are kept.

    Args:
        truth: (N, L) of 1, 0 or NaN.
        group_of_row: (N,) numbers 0 .. G-1, each at least once.

    >>> counts = group_counts(np.array([[1, 0], [1, np.nan], [1, 1]]), np.array([1, 1, 0]))
    >>> counts.start.tolist(), counts.feature.tolist(), counts.count.tolist()
    ([0, 4, 7], [0, 1, 3, 4, 0, 4, 6], [1, 1, 1, 1, 2, 2, 1])
    """
    n_labels = truth.shape[1]
    n_features = n_labels * n_labels + 1 + n_labels
    unknown = _rarer_of_unknown_and_negative(truth)
    order = np.argsort(group_of_row, kind="stable")
    cells_G, total = [], np.zeros(n_features, dtype=np.int64)
    features, counts = [], []
    for first, last, rows in _blocks(order, np.cumsum(np.bincount(group_of_row))):
        block, base = truth[rows], (group_of_row[rows] - first) * n_features
        keys = [base + n_labels * n_labels, *_positive_pairs(block == 1, base)]
        for c, value in unknown.items():
            found = block[:, c] == 0 if value == 0 else block[:, c] != block[:, c]
            keys.append(base[found] + n_labels * n_labels + 1 + c)
        key, count = np.unique(np.concatenate(keys), return_counts=True)
        group, feature = np.divmod(key, n_features)
        np.add.at(total, feature, count)
        cells_G.append(np.bincount(group, minlength=last - first))
        features.append(feature.astype(np.int32))
        counts.append(count.astype(np.int32))

    weight = UNIT // np.maximum(total, 1)
    weight[np.arange(n_labels) * (n_labels + 1)] *= 1 + n_labels // LABELS_PER_WEIGHT
    start = np.cumsum(np.concatenate([[0], *cells_G]))
    return GroupCounts(np.concatenate(features), np.concatenate(counts), start, np.maximum(weight, 1))


def _rarer_of_unknown_and_negative(truth: np.ndarray) -> dict[int, float]:
    """Which cells are counted of each label that has unknown ones: 0 or NaN, whichever is rarer.

    Rows and positives are balanced already: balancing either the negatives or the unknown cells balances the other too.
    """
    n_negative, n_unknown = (truth == 0).sum(axis=0), (truth != truth).sum(axis=0)
    return {
        c: 0.0 if n_negative[c] < n_unknown[c] else float("nan") for c in np.flatnonzero(n_unknown).tolist()
    }


def _blocks(order: np.ndarray, ends: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield groups first .. last - 1 and their rows: as many as have BLOCK rows, or one that has more.

    Args:
        order: (N,) rows sorted by group.
        ends: (G,) how many rows groups 0 .. g have.
    """
    first, done = 0, 0
    while first < len(ends):
        last = max(int(np.searchsorted(ends, done + BLOCK, side="right")), first + 1)
        yield first, last, order[done : ends[last - 1]]
        first, done = last, int(ends[last - 1])


def _positive_pairs(positive: np.ndarray, base: np.ndarray) -> Iterator[np.ndarray]:
    """Yield base + a * L + b of all pairs a <= b of labels that are positive in a row of (N, L) `positive`."""
    n_labels = positive.shape[1]
    row, label = np.nonzero(positive)
    n_positive = np.bincount(row, minlength=len(positive))
    first = np.cumsum(n_positive) - n_positive
    for m in np.unique(n_positive[n_positive > 0]).tolist():  # all rows with m positives at once
        rows = np.flatnonzero(n_positive == m)
        positives = label[first[rows][:, None] + np.arange(m)]
        a, b = np.triu_indices(m)
        yield (base[rows][:, None] + positives[:, a] * n_labels + positives[:, b]).ravel()
