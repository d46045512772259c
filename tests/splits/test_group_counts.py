from __future__ import annotations

import numpy as np
import pytest

from couplet.splits import group_counts as module
from couplet.splits.group_counts import UNIT, group_counts
from couplet.splits.mis import stratified_group_folds


def drawn(seed: int, n: int = 300, n_labels: int = 6, n_groups: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Truth with rare and with common unknown cells, and the group of each row; group 3 is a large one."""
    random = np.random.default_rng(seed)
    truth = (random.random((n, n_labels)) < 0.3).astype(np.float32)
    truth[random.random(truth.shape) < [0, 0.1, 0.9, 0, 0.5, 1]] = np.nan
    return truth, np.concatenate([np.arange(n_groups), np.full(60, 3), random.integers(0, n_groups, n)])[:n]


def table_of(counts: module.GroupCounts) -> np.ndarray:
    """The G x F table with its zeros."""
    n_groups, n_features = len(counts.start) - 1, len(counts.weight)
    table = np.zeros((n_groups, n_features), dtype=int)
    table[np.repeat(np.arange(n_groups), np.diff(counts.start)), counts.feature] = counts.count
    return table


@pytest.mark.parametrize("block", [1, 7, 50, 10**6])
def test_counts_in_plain_loops_however_many_rows_a_block_has(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    for seed in range(3):
        truth, group = drawn(seed)
        n_labels = truth.shape[1]
        expected = np.zeros((group.max() + 1, n_labels * n_labels + 1 + n_labels), dtype=int)
        for row, g in zip(truth, group, strict=True):
            expected[g, n_labels * n_labels] += 1
            for a in range(n_labels):
                for b in range(a, n_labels):
                    expected[g, a * n_labels + b] += row[a] == 1 and row[b] == 1
        for c in range(n_labels):
            unknown, negative = np.isnan(truth[:, c]), truth[:, c] == 0
            rarer = negative if negative.sum() < unknown.sum() else unknown
            for g in group[rarer] if unknown.any() else []:
                expected[g, n_labels * n_labels + 1 + c] += 1
        counts = group_counts(truth, group)
        np.testing.assert_array_equal(table_of(counts), expected)
        assert counts.start[-1] == (expected > 0).sum() == len(counts.feature) == len(counts.count)
        np.testing.assert_array_equal(counts.weight, UNIT // np.maximum(expected.sum(axis=0), 1))
        assert counts.feature.dtype == counts.count.dtype == np.int32


def test_a_label_weighs_as_two_pairs_from_14_labels_on_and_as_three_from_28() -> None:
    for n_labels, weight in ((1, 1), (13, 1), (14, 2), (28, 3)):
        counts = group_counts(np.ones((4, n_labels)), np.arange(4))
        pairs = counts.weight[: n_labels * n_labels].reshape(n_labels, n_labels)
        assert set(np.diag(pairs).tolist()) == {weight * UNIT // 4}
        assert set(pairs[np.triu_indices(n_labels, 1)].tolist()) <= {UNIT // 4}


def test_folds_do_not_depend_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, group = drawn(5, n=900, n_groups=200)
    folds = stratified_group_folds(truth, group, 3, seed=42)
    monkeypatch.setattr(module, "BLOCK", 11)
    np.testing.assert_array_equal(stratified_group_folds(truth, group, 3, seed=42), folds)
