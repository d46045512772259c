from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from couplet.reporting.analysis import (
    across_fold_std,
    fold_agreement,
    off_diagonal,
    pearson,
    sample_rows,
    small_share,
)


@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_agreement_counts_votes_like_a_plain_loop(n_folds: int) -> None:
    probabilities = np.random.default_rng(0).random((n_folds, 40, 6)).round(2)
    result = fold_agreement(probabilities)

    votes = np.zeros((6, n_folds + 1))
    for image in range(40):
        for label in range(6):
            yes = sum(probabilities[fold, image, label] >= 0.5 for fold in range(n_folds))
            votes[label, yes] += 1
    np.testing.assert_array_equal(result.votes, votes.sum(axis=0))
    np.testing.assert_allclose(result.per_label, votes / 40)
    assert result.unanimous == pytest.approx((votes[:, 0] + votes[:, -1]).sum() / 240)
    np.testing.assert_allclose(result.split_per_label, votes[:, 1:-1].sum(axis=1) / 40)


@pytest.mark.parametrize("n_folds", [2, 4])
def test_kappa_is_scikit_learns(n_folds: int) -> None:
    random = np.random.default_rng(1)
    probabilities = (random.random((30, 5)) + 0.4 * random.random((n_folds, 30, 5))) / 1.4
    said = (probabilities >= 0.5).reshape(n_folds, -1)
    result = fold_agreement(probabilities)
    for i in range(n_folds):
        for j in range(n_folds):
            assert result.agreement[i, j] == pytest.approx((said[i] == said[j]).mean())
            assert result.kappa[i, j] == pytest.approx(cohen_kappa_score(said[i], said[j]))


def test_kappa_of_folds_that_always_say_the_same_is_undefined() -> None:
    result = fold_agreement(np.full((2, 3, 2), 0.1))
    assert result.unanimous == 1
    assert np.isnan(result.kappa).all()


def test_a_probability_of_one_half_is_a_yes() -> None:
    assert fold_agreement(np.array([[[0.5]], [[0.4999]]])).votes.tolist() == [0, 1, 0]


@pytest.mark.parametrize("shape", [(1, 3, 2), (3, 0, 2)])
def test_agreement_needs_two_folds_and_an_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least two folds"):
        fold_agreement(np.zeros(shape))


def test_pearson_is_numpys() -> None:
    values = np.random.default_rng(2).normal(size=(50, 4))
    np.testing.assert_allclose(pearson(values), np.corrcoef(values.T))


def test_pearson_leaves_out_unknown_cells_pair_by_pair() -> None:
    values = np.random.default_rng(3).normal(size=(50, 3))
    values[:10, 0] = np.nan
    values[5:20, 1] = np.nan
    matrix = pearson(values)
    assert matrix[0, 1] == pytest.approx(np.corrcoef(values[20:, 0], values[20:, 1])[0, 1])
    assert matrix[0, 2] == pytest.approx(np.corrcoef(values[10:, 0], values[10:, 2])[0, 1])


def test_a_constant_label_has_no_correlation() -> None:
    values = np.random.default_rng(4).normal(size=(50, 3))
    values[:, 1] = 0.1
    matrix = pearson(values)
    assert np.isnan(matrix[1]).all() and np.isnan(matrix[:, 1]).all()
    assert np.isfinite(matrix[np.ix_([0, 2], [0, 2])]).all()


def test_spread_is_the_mean_of_the_population_standard_deviation() -> None:
    # Image 1: 0.2, 0.4 -> 0.1; image 2: 0.5, 0.5 -> 0.
    assert across_fold_std(np.array([[[0.2], [0.5]], [[0.4], [0.5]]])) == pytest.approx([0.05])


def test_small_share_ignores_the_diagonal() -> None:
    matrix = np.array([[0, 1e-3, 9e-4], [-9e-4, 0, -0.2], [0, 0, 0]])
    assert small_share(matrix) == pytest.approx(4 / 6)
    assert off_diagonal(matrix).tolist() == [1e-3, 9e-4, -9e-4, -0.2, 0, 0]
    assert np.isnan(small_share(np.zeros((1, 1))))


def test_samples_are_positives_of_different_patients_first() -> None:
    truth = np.array([1, 1, 1, 0, np.nan, 1])
    patients = np.array(["a", "a", "b", "c", "d", "e"])
    keys = np.array([3, 1, 2, 0, 0, 4])
    # In the order of the keys: rows 1 (a), 2 (b), 0 (a again), 5 (e).
    assert sample_rows(truth, patients, keys, 3).tolist() == [1, 2, 5]
    assert sample_rows(truth, patients, keys, 9).tolist() == [1, 2, 5, 0]
    assert sample_rows(np.zeros(6), patients, keys, 9).tolist() == []
