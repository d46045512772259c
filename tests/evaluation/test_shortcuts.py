from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from couplet.evaluation.shortcuts import Shortcuts, attribute_predictor, auc_within, shortcuts
from tests.support.predictions import drawn_predictions as drawn


def test_within_and_pooled_by_hand() -> None:
    # View A: .9 positive, .8 negative; view B: .3 positive, .1 negative.
    truth, scores = np.array([[1], [0], [1], [0]]), np.array([[0.9], [0.8], [0.3], [0.1]])
    found = shortcuts(truth, scores, np.array(["A", "A", "B", "B"]), np.array([0, 1, 0, 1]))
    assert (found.pooled[0], found.within[0]) == (0.75, 1.0)


def test_a_score_equal_to_the_view_is_worth_nothing_within() -> None:
    truth, _, patients = drawn(0)
    view = patients % 4
    assert auc_within(truth, np.repeat(view[:, None], 3, axis=1), view).tolist() == [0.5] * 3


def test_within_against_all_pairs() -> None:
    truth, scores, patients = drawn(1)
    view = np.array(["PA", "AP", ""])[patients % 3]
    found = auc_within(truth, scores, view)
    for label in range(3):
        won = pairs = 0.0
        for i in np.flatnonzero(truth[:, label] == 1):
            for j in np.flatnonzero(truth[:, label] == 0):
                if view[i] == view[j]:
                    pairs += 1
                    won += (scores[i, label] > scores[j, label]) + 0.5 * (
                        scores[i, label] == scores[j, label]
                    )
        assert found[label] == pytest.approx(won / pairs, abs=1e-12)


def test_the_attribute_alone_is_its_prevalence_in_the_other_folds() -> None:
    truth, scores, patients = drawn(2)
    view, folds = np.random.default_rng(0).integers(0, 3, 300), patients % 3
    view[:5] = 9  # folds where nobody else has this view
    found = attribute_predictor(truth, view, folds)
    for i in range(300):
        for label in range(3):
            others = (folds != folds[i]) & ~np.isnan(truth[:, label])
            alike = others & (view == view[i])
            rows = alike if alike.any() else others
            assert found[i, label] == pytest.approx(truth[rows, label].mean())
    assert attribute_predictor(np.full((2, 1), np.nan), view[:2], np.array([0, 1])).tolist() == [[0.5], [0.5]]
    # Its AUC is that within folds: prevalences of several folds are no common scale.
    known = ~np.isnan(truth[:, 1])
    aucs, pairs = [], []
    for fold in range(3):
        rows = known & (folds == fold)
        aucs.append(roc_auc_score(truth[rows, 1], found[rows, 1]))
        pairs.append((truth[rows, 1] == 1).sum() * (truth[rows, 1] == 0).sum())
    assert shortcuts(truth, scores, view, folds).attribute_only[1] == pytest.approx(
        np.average(aucs, weights=pairs)
    )


def test_an_attribute_that_says_nothing_is_not_below_chance() -> None:
    # Pooled over folds it would be: a fold with many positives has few in the others.
    rng = np.random.default_rng(3)
    truth, view, folds = (
        (rng.random((3000, 20)) < 0.2).astype(float),
        rng.integers(0, 2, 3000),
        np.arange(3000) % 3,
    )
    found = shortcuts(truth, rng.random((3000, 20)), view, folds)
    assert found.attribute_only.mean() == pytest.approx(0.5, abs=0.01)


def test_labels_without_pairs_and_the_first_screen() -> None:
    truth = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, np.nan]])
    scores, folds = np.array([[0.9, 0.9], [0.8, 0.1], [0.3, 0.2], [0.1, 0.2]]), np.array([0, 0, 1, 1])
    found = shortcuts(truth, scores, np.array(["A", "A", "B", "B"]), folds)
    assert np.isnan([values[1] for values in found]).all()
    assert found.macro() == (0.75, 1.0, 0.5)
    assert not found.attention()
    assert Shortcuts(np.array([0.83]), np.array([0.78]), np.array([0.6])).attention()
    assert np.isnan(Shortcuts(*np.full((3, 1), np.nan)).macro()).all()


def test_unknown_cells_are_as_if_they_were_not_there() -> None:
    truth, scores, patients = drawn(4)
    view, folds = patients % 4, patients % 3
    whole = shortcuts(truth, scores, view, folds)
    for label in range(3):
        known = ~np.isnan(truth[:, label])
        alone = shortcuts(truth[known][:, [label]], scores[known][:, [label]], view[known], folds[known])
        assert [values[label] for values in whole] == [values[0] for values in alone]
