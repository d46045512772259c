from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest

from couplet.splits import fallback
from couplet.splits.fallback import label_combination_folds, stratified_folds
from couplet.splits.mis import multilabel_stratified_folds, stratified_group_folds


def test_the_splitter_that_ran_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = (np.random.default_rng(0).random((60, 3)) < 0.4).astype(float)
    groups = np.arange(60) // 2
    folds, name = stratified_folds(labels, groups, 3, seed=42)
    assert name == "grouped second-order stratification"
    np.testing.assert_array_equal(folds, stratified_group_folds(labels, groups, 3, 42))
    folds, name = stratified_folds(labels, None, 3, seed=42)
    assert name == "MultilabelStratifiedKFold"
    np.testing.assert_array_equal(folds, multilabel_stratified_folds(labels, 3, 42))
    assert stratified_folds(labels[:, :1], None, 3, seed=42)[1] == "StratifiedKFold over label combinations"
    monkeypatch.setattr(fallback, "find_spec", lambda name: None)
    folds, name = stratified_folds(labels, None, 3, seed=42)
    assert name == "StratifiedKFold over label combinations"
    np.testing.assert_array_equal(folds, label_combination_folds(labels, 3, 42))


def test_grouped_folds_need_no_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "iterstrat", None)
    assert len(stratified_folds(np.eye(4), np.arange(4), 2, 0)[0]) == 4


def test_a_single_label_is_stratified() -> None:
    labels = np.repeat([[1.0], [0.0], [np.nan]], [30, 60, 9], axis=0)
    folds = label_combination_folds(labels, 3, seed=42)
    assert [int(np.nansum(labels[folds == fold])) for fold in range(3)] == [10, 10, 10]
    assert np.bincount(folds).tolist() == [33, 33, 33]


def test_common_combinations_are_spread_evenly() -> None:
    labels = np.repeat([[1, 1], [1, 0], [0, 0]], [30, 9, 60], axis=0)
    folds = label_combination_folds(labels, 3, seed=1)
    for fold in range(3):
        assert Counter(map(tuple, labels[folds == fold])) == {(1, 1): 10, (1, 0): 3, (0, 0): 20}


def test_rare_combinations_join_their_rarest_label() -> None:
    # (a, b) and (b, c) are there once, (b) four times: b is rarest in both, so b's six rows go two to a fold.
    labels = np.repeat([[1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]], [1, 1, 4, 9, 9], axis=0)
    for seed in range(5):
        folds = label_combination_folds(labels, 3, seed)
        assert [int(labels[folds == fold, 1].sum()) for fold in range(3)] == [2, 2, 2]


def test_what_is_still_too_rare_joins_the_largest_class(recwarn: pytest.WarningsRecorder) -> None:
    labels = np.repeat([[1, 1, 0], [0, 0, 1], [0, 0, 0]], [1, 1, 10], axis=0)
    folds = label_combination_folds(labels, 3, seed=0)
    assert np.bincount(folds).tolist() == [4, 4, 4]
    assert not recwarn.list


def test_same_seed_same_folds_and_too_few_rows() -> None:
    labels = np.random.default_rng(3).random((50, 4)) < 0.3
    np.testing.assert_array_equal(
        label_combination_folds(labels, 3, 5), label_combination_folds(labels, 3, 5)
    )
    assert (label_combination_folds(labels, 3, 5) != label_combination_folds(labels, 3, 6)).any()
    with pytest.raises(ValueError, match="3 folds need at least 3 rows, not 2"):
        label_combination_folds(labels[:2], 3, 0)
