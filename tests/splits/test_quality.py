from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from couplet.splits.quality import (
    label_distribution_deviation,
    label_pair_distribution_deviation,
    patients_in_two_folds,
)


def plain_deviation(columns: list[np.ndarray], folds: np.ndarray) -> float:
    """The definition, loop by loop: mean over folds and columns of |c/(s-c) - C/(n-C)|."""
    terms = []
    for column in columns:
        for fold in sorted(set(folds)):
            here = column[folds == fold]
            terms.append(
                abs(here.sum() / (len(here) - here.sum()) - column.sum() / (len(column) - column.sum()))
            )
    return float(np.mean(terms))


@pytest.mark.parametrize("n_folds", [2, 3, 7])
def test_against_plain_loops(n_folds: int) -> None:
    rng = np.random.default_rng(n_folds)
    labels = (rng.random((500, 6)) < [0.5, 0.3, 0.1, 0.02, 0.6, 0.0]).astype(float)
    folds = rng.integers(0, n_folds, 500)
    columns = list(labels.T)
    assert label_distribution_deviation(labels, folds) == pytest.approx(
        plain_deviation(columns, folds), abs=1e-15
    )
    pairs = [a * b for a, b in combinations(columns, 2) if (a * b).any()]
    assert 0 < len(pairs) <= 10  # the empty label is in none
    assert label_pair_distribution_deviation(labels, folds) == pytest.approx(
        plain_deviation(pairs, folds), abs=1e-15
    )


def test_hand_computed_table() -> None:
    # Fold 0: 4 rows, a 1, b 2, a and b 1. Fold 1: 4 rows, a 3, b 2, a and b 1. All: 8 rows, a 4, b 4, both 2.
    labels = np.array([[1, 1], [0, 1], [0, 0], [0, 0], [1, 1], [1, 0], [1, 0], [0, 1]])
    folds = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    by_label = (abs(1 / 3 - 1) + abs(3 / 1 - 1) + abs(2 / 2 - 1) + abs(2 / 2 - 1)) / 4
    assert label_distribution_deviation(labels, folds) == pytest.approx(by_label)
    assert label_pair_distribution_deviation(labels, folds) == pytest.approx(abs(1 / 3 - 2 / 6))


def test_unequal_folds_with_equal_prevalence_are_perfect() -> None:
    labels = np.tile([[1, 0], [0, 1], [0, 0]], (10, 1))
    assert label_distribution_deviation(labels, np.repeat([0, 1], [6, 24])) == 0


def test_folds_may_be_names_and_unknown_is_no_positive() -> None:
    labels = np.array([[1.0], [np.nan], [1.0], [0.0]])
    assert label_distribution_deviation(labels, np.array(["0", "0", "train", "train"], dtype=object)) == 0


def test_a_label_that_everybody_has() -> None:
    labels = np.array([[1, 1], [1, 0], [1, 1], [1, 0]])
    assert label_distribution_deviation(labels, np.array([0, 0, 1, 1])) == 0
    # All of fold 0 have the second label: 2 / 1 in place of 2 / 0; 1/3 over all... |2 - 1| and |0 - 1|, over 4.
    assert label_distribution_deviation(labels[[0, 2, 1, 3]], np.array([0, 0, 1, 1])) == pytest.approx(0.5)


def test_nothing_to_compare() -> None:
    assert np.isnan(label_pair_distribution_deviation(np.eye(4), np.array([0, 0, 1, 1])))
    assert np.isnan(label_pair_distribution_deviation(np.ones((4, 1)), np.array([0, 0, 1, 1])))
    assert np.isnan(label_distribution_deviation(np.empty((0, 3)), np.empty(0)))
    assert label_distribution_deviation(np.eye(4), np.zeros(4)) == 0  # a single fold is all rows


def test_patients_in_two_folds() -> None:
    groups = np.array(["7", "7", "8", "8", "9", "9", "9"], dtype=object)
    assert patients_in_two_folds(groups, np.array([0, 1, 1, 1, 0, 1, 2])) == 2
    assert patients_in_two_folds(groups, np.zeros(7)) == 0
