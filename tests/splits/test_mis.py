from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from couplet.splits.mis import (
    multilabel_stratified_folds,
    stratified_group_folds,
    stratified_group_parts,
)
from couplet.splits.quality import (
    label_distribution_deviation,
    label_pair_distribution_deviation,
    patients_in_two_folds,
)


@pytest.fixture(scope="module")
def nih(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    table = pd.read_csv(shared_data / "nih_cxr14_labels/Data_Entry_2017_v2020.csv", dtype=str)
    labels = table["Finding Labels"].str.get_dummies("|").drop(columns="No Finding").to_numpy(float)
    return labels, table["Patient ID"].to_numpy()


def patients(
    seed: int, n_patients: int, n_labels: int, prevalence: float = 0.2
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of patients with 1 to 6 images that share most of their labels."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_patients), rng.integers(1, 7, n_patients))
    base = rng.random((n_patients, n_labels)) < prevalence
    labels = base[groups] ^ (rng.random((len(groups), n_labels)) < 0.05)
    return labels.astype(float), groups


def test_the_real_table_is_balanced_and_no_patient_leaks(nih: tuple[np.ndarray, np.ndarray]) -> None:
    labels, groups = nih
    assert labels.shape == (112_120, 14)
    folds = stratified_group_folds(labels, groups, 3, seed=42)
    assert sorted(np.bincount(folds)) == [37_373, 37_373, 37_374]
    assert patients_in_two_folds(groups, folds) == 0
    assert label_distribution_deviation(labels, folds) <= 1.2e-5
    assert label_pair_distribution_deviation(labels, folds) <= 2e-5


def test_five_folds_of_the_real_table(nih: tuple[np.ndarray, np.ndarray]) -> None:
    labels, groups = nih
    folds = stratified_group_folds(labels, groups, 5, seed=7)
    assert patients_in_two_folds(groups, folds) == 0
    positives = np.array([labels[folds == fold].sum(axis=0) for fold in range(5)])
    assert np.abs(positives - labels.sum(axis=0) / 5).max() < 2
    assert np.bincount(folds).max() - np.bincount(folds).min() <= 1


def test_row_order_and_type_of_groups_do_not_matter(nih: tuple[np.ndarray, np.ndarray]) -> None:
    labels, groups = nih
    folds = stratified_group_folds(labels, groups, 3, seed=42)
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = stratified_group_folds(labels[order].astype(bool), groups[order].astype(int), 3, seed=42)
    np.testing.assert_array_equal(shuffled, folds[order])


def test_order_and_seed_on_small_data() -> None:
    labels, groups = patients(1, 200, 5)
    folds = stratified_group_folds(labels, groups, 4, seed=3)
    order = np.random.default_rng(0).permutation(len(labels))
    names = groups.astype(str).astype(object)
    np.testing.assert_array_equal(stratified_group_folds(labels[order], names[order], 4, 3), folds[order])
    np.testing.assert_array_equal(stratified_group_folds(labels.astype(np.float32), groups, 4, 3), folds)
    assert (stratified_group_folds(labels, groups, 4, seed=4) != folds).mean() > 0.5


def test_mixed_names_are_one_patient() -> None:
    labels = np.array([[1], [1], [0], [0]])
    folds = stratified_group_folds(labels, np.array([7, "7", 8, "8"], dtype=object), 2, seed=0)
    assert folds[0] == folds[1] != folds[2] == folds[3]


@pytest.mark.parametrize("n_folds", [2, 3, 5, 10])
def test_every_patient_has_one_fold_and_no_fold_is_empty(n_folds: int) -> None:
    for seed in range(20):
        labels, groups = patients(seed, n_folds + seed, 4)
        folds = stratified_group_folds(labels, groups, n_folds, seed)
        assert folds.dtype == np.int64
        assert patients_in_two_folds(groups, folds) == 0
        assert set(folds) == set(range(n_folds))


def test_identical_patients_are_dealt_in_equal_numbers() -> None:
    labels = np.repeat([[1, 1], [1, 0], [0, 0]], [300, 90, 600], axis=0)
    folds = stratified_group_folds(labels, np.arange(990), 3, seed=42)
    for fold in range(3):
        assert Counter(map(tuple, labels[folds == fold])) == {(1, 1): 100, (1, 0): 30, (0, 0): 200}


def test_first_step_is_the_fold_where_chi_square_grows_least() -> None:
    # The heaviest patient (4 images of a) goes anywhere, the next heaviest (3 of a) elsewhere; the last (1 image
    # of a) must join the second.
    labels = np.ones((8, 1))
    groups = np.array(["x", "x", "x", "x", "y", "y", "y", "z"])
    for seed in range(10):
        folds = stratified_group_folds(labels, groups, 2, seed)
        assert len(set(folds[:4])) == 1
        assert set(folds[4:]) == {1 - folds[0]}


def test_pairs_are_balanced_where_labels_alone_could_be_met_without() -> None:
    # Six images (a, b), six images of a alone and six of b alone: 3 + 3 + 3 is the only deal that evens the pair.
    labels = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], 6, axis=0)
    for seed in range(10):
        folds = stratified_group_folds(labels, np.arange(24), 2, seed)
        assert label_pair_distribution_deviation(labels, folds) == 0
        assert label_distribution_deviation(labels, folds) == 0


def test_balance_holds_as_well_as_by_image_without_groups() -> None:
    labels, groups = patients(5, 3000, 8, prevalence=0.1)
    ours = stratified_group_folds(labels, groups, 3, seed=42)
    by_image = multilabel_stratified_folds(labels, 3, seed=42)
    assert label_distribution_deviation(labels, ours) <= 1.1 * label_distribution_deviation(labels, by_image)
    assert label_pair_distribution_deviation(labels, ours) < label_pair_distribution_deviation(
        labels, by_image
    )
    assert patients_in_two_folds(groups, ours) == 0 < patients_in_two_folds(groups, by_image)


def test_unknown_labels_are_no_positives_and_are_spread_evenly() -> None:
    labels, groups = patients(6, 2000, 4)
    rng = np.random.default_rng(6)
    unknown = (rng.random((2000, 4)) < [0.5, 0.9, 0.1, 0.0])[groups]
    labels[unknown] = np.nan
    folds = stratified_group_folds(labels, groups, 3, seed=42)
    for count in (np.isnan(labels), labels == 1, labels == 0):
        per_fold = np.array([count[folds == fold].sum(axis=0) for fold in range(3)])
        assert np.abs(per_fold - count.sum(axis=0) / 3).max() <= 3


def test_eighty_labels() -> None:
    rng = np.random.default_rng(8)
    labels = rng.random((5000, 80)) < np.geomspace(0.5, 0.005, 80)
    folds = stratified_group_folds(labels, np.arange(5000), 3, seed=42)
    per_fold = np.array([labels[folds == fold].sum(axis=0) for fold in range(3)])
    # All 3160 pairs are balanced too, so labels are within a few images, not exact.
    assert np.abs(per_fold - labels.sum(axis=0) / 3).max() <= 4
    random_folds = rng.integers(0, 3, 5000)
    assert (
        label_pair_distribution_deviation(labels, folds)
        < label_pair_distribution_deviation(labels, random_folds) / 2
    )


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_parts_have_their_shares(share: float) -> None:
    labels, groups = patients(9, 4000, 6)
    parts = stratified_group_parts(labels, groups, [share, 1 - share], seed=42)
    assert patients_in_two_folds(groups, parts) == 0
    assert abs((parts == 0).sum() - share * len(labels)) <= 1
    assert np.abs(labels[parts == 0].sum(axis=0) - share * labels.sum(axis=0)).max() <= 2


def test_a_share_below_one_patient_stays_empty() -> None:
    assert set(stratified_group_parts(np.ones((6, 1)), np.array([1, 1, 1, 2, 2, 2]), [0.01, 0.99], 0)) == {1}


def test_no_rows_and_no_positives() -> None:
    assert stratified_group_parts(np.empty((0, 3)), np.empty(0), [0.5, 0.5], 0).shape == (0,)
    folds = stratified_group_folds(np.zeros((9, 3)), np.arange(9), 3, seed=0)
    assert np.bincount(folds).tolist() == [3, 3, 3]


def test_mistakes_are_named() -> None:
    labels = np.ones((4, 2))
    with pytest.raises(ValueError, match="3 folds need at least 3 groups, not 2"):
        stratified_group_folds(labels, np.array([1, 1, 2, 2]), 3, 0)
    with pytest.raises(ValueError, match="1 of 4 rows have no group"):
        stratified_group_folds(labels, np.array([1, None, 2, 3], dtype=object), 2, 0)
    with pytest.raises(ValueError, match="0, 1 or NaN"):
        stratified_group_folds(labels - 2, np.arange(4), 2, 0)
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(3,\)"):
        stratified_group_folds(labels, np.arange(3), 2, 0)
    with pytest.raises(ValueError, match="sum to 1"):
        stratified_group_parts(labels, np.arange(4), [0.5, 0.6], 0)
    with pytest.raises(ValueError, match="at least 2"):
        stratified_group_folds(labels, np.arange(4), 1, 0)


def test_by_image_is_the_published_splitter() -> None:
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    labels, _ = patients(11, 100, 5)
    labels[0, 0] = np.nan  # no positive, although NaN is true as a boolean
    folds = multilabel_stratified_folds(labels, 3, seed=42)
    reference = MultilabelStratifiedKFold(n_splits=3, shuffle=True, random_state=42)
    for fold, (_, rows) in enumerate(reference.split(labels, np.nan_to_num(labels))):
        np.testing.assert_array_equal(np.flatnonzero(folds == fold), rows)
