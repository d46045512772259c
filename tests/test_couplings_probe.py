"""The worlds with known couplings: their best predictions are exact, and there is as much to win as they promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from couplet.evaluation.metrics import auc_per_label
from tests.couplings_probe import (
    N_SEEN,
    independent_labels,
    known_couplings,
    label_sets,
    nih_truth,
)


def test_structure() -> None:
    world = known_couplings(0)
    assert world.hidden.tolist() == [8, 9, 10, 11, 12, 13]
    assert (world.couplings != 0).sum(axis=0).tolist() == [0] * N_SEEN + [2, 2, 3, 3, 6, 6]
    assert set(np.unique(world.couplings)) <= {-3.0, 0.0, 3.0}
    assert sorted(world.prevalence) == pytest.approx(np.geomspace(0.04, 0.25, 8))
    np.testing.assert_allclose(world.directions @ world.directions.T, np.eye(9), atol=1e-12)
    signs = [known_couplings(seed).couplings for seed in range(40)]
    assert not any((c[:, [9, 11, 13]] < 0).any() for c in signs)
    assert 0.12 < np.mean([(c[:, [8, 10, 12]] < 0).sum() / 11 for c in signs]) < 0.28


def test_the_same_seed_gives_the_same_images() -> None:
    first, second, other = (known_couplings(1).draw(50, seed) for seed in (7, 7, 8))
    for mine, same, different in zip(
        (first.x, first.truth, first.best),
        (second.x, second.truth, second.best),
        (other.x, other.truth, other.best),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, same)
        assert (mine != different).any()


@pytest.mark.parametrize("context", [False, True])
def test_the_best_prediction_is_bayes_rule_over_all_states(context: bool) -> None:
    """All 2^8 states of the seen labels and both of the mark, by their densities; not factor by factor."""
    world = known_couplings(2, context)
    sample = world.draw(20, 0)
    states = (np.arange(256)[:, None] >> np.arange(8)) & 1
    prior = np.where(states, world.prevalence, 1 - world.prevalence).prod(axis=1)
    weight, chance = [], []
    for mark in (0, 1) if context else (1,):
        mean = 3 * states @ world.directions[:8] + (3 * mark * world.directions[8] if context else 0)
        distance = ((sample.x[:, None, :] - mean) ** 2).sum(axis=2)
        weight.append(prior * np.exp(-distance / 2 + 32))
        logits = world.intercepts + mark * (states @ world.couplings[:8])
        chance.append(np.where(np.arange(14) < 8, np.pad(states, ((0, 0), (0, 6))), expit(logits)))
    all_weights, all_chances = np.hstack(weight), np.vstack(chance)
    found = all_weights @ all_chances / all_weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(sample.best, found, atol=1e-10)


def test_labels_follow_their_best_predictions() -> None:
    for world in (known_couplings(0), known_couplings(0, context=True), independent_labels(0)):
        sample = world.draw(40_000, 1)
        error = np.sqrt((sample.best * (1 - sample.best)).sum(axis=0))
        assert (abs((sample.truth - sample.best).sum(axis=0)) < 4 * error).all()


def test_hidden_labels_are_better_predicted_through_their_parents() -> None:
    """0.033 of AUC above the best linear head, on the hidden labels only: what a coupling could win at most."""
    gains = []
    for seed in range(2):
        world = known_couplings(seed)
        sample = world.draw(40_000, seed)
        half = slice(0, 20_000)
        sufficient = sample.x @ world.directions[:N_SEEN].T
        test = sample.rows(slice(20_000, None))
        linear = np.column_stack(
            [
                LogisticRegression(C=1e4)
                .fit(sufficient[half], sample.truth[half, j])
                .decision_function(sufficient[20_000:])
                for j in range(14)
            ]
        )
        gains.append(auc_per_label(test.truth, test.best) - auc_per_label(test.truth, linear))
    assert 0.02 < np.mean([gain[N_SEEN:] for gain in gains]) < 0.045
    assert abs(np.mean([gain[:N_SEEN] for gain in gains])) < 5e-4


def test_label_sets_by_brute_force() -> None:
    truth = np.array([[0, 0], [1, 0], [1, 1], [1, 1]])
    world = label_sets(truth, seed=0)
    assert sorted(world.snr) == [0.3, 2.5]
    sample = world.draw(30, 1)
    likelihood = np.exp(-((sample.x[:, None, :] - world.snr * truth) ** 2).sum(axis=2) / 2)
    np.testing.assert_allclose(
        sample.best, likelihood @ truth / likelihood.sum(axis=1, keepdims=True), atol=1e-12
    )


def test_nih_labels_are_those_of_its_table(shared_data: Path) -> None:
    labels, truth = nih_truth(shared_data / "nih_cxr14_labels" / "Data_Entry_2017_v2020.csv")
    assert len(labels) == 14 and truth.shape == (112_120, 14)
    assert (
        truth[:, labels.index("Hernia")].sum() == 227
        and truth[:, labels.index("Infiltration")].sum() == 19_894
    )
    world = label_sets(truth, seed=0)
    sample = world.draw(4_000, 0)
    own = sample.x[:, labels.index("Infiltration")]
    both = [
        roc_auc_score(sample.truth[:, labels.index("Infiltration")], score)
        for score in (own, sample.best[:, labels.index("Infiltration")])
    ]
    assert both[1] > both[0]
