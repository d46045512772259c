"""Couplings fitted out of fold find what is there, and nothing where nothing is (`tests.couplings_probe`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from couplet.evaluation.couplings.evidence import losses
from couplet.evaluation.metrics import auc_per_label
from tests.couplings_experiment import fitted
from tests.couplings_probe import independent_labels, known_couplings, label_sets, nih_truth


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_known_couplings_are_found(seed: int) -> None:
    world = known_couplings(seed)
    train, test = world.draw(8_000, 10 * seed), world.draw(8_000, 10 * seed + 1)
    couplings, refined, alone = fitted(train, test, strictness=2.0)
    gain = auc_per_label(test.truth, refined) - auc_per_label(test.truth, alone)
    assert gain[world.hidden].mean() > 0.02
    assert abs(gain[:8].mean()) < 0.002
    true = world.couplings != 0
    right = np.sign(couplings.fitted.A[true]) == np.sign(world.couplings[true])
    assert right.mean() >= 0.95
    assert (couplings.fitted.A == 0).mean() > 0.3
    # What is not calibrated by the fit would show as a larger loss.
    assert np.nanmean(losses(test.truth, alone) - losses(test.truth, refined)) > 0.2
    best = auc_per_label(test.truth, test.best)[world.hidden].mean()
    assert gain[world.hidden].mean() < best - auc_per_label(test.truth, alone)[world.hidden].mean()


def test_nothing_is_found_where_nothing_is() -> None:
    zeros, gains, losses_gained = [], [], []
    for seed in range(3):
        world = independent_labels(seed)
        train, test = world.draw(6_000, 20 + seed), world.draw(6_000, 40 + seed)
        couplings, refined, alone = fitted(train, test, strictness=2.0)
        off = ~np.eye(14, dtype=bool)
        zeros.append((couplings.fitted.A[off] == 0).mean())
        gains.append(np.mean(auc_per_label(test.truth, refined) - auc_per_label(test.truth, alone)))
        losses_gained.append(np.mean(losses(test.truth, alone) - losses(test.truth, refined)))
    assert np.mean(zeros) > 0.97
    assert abs(np.mean(gains)) < 2e-4 and np.mean(losses_gained) < 1e-3


def test_real_label_sets_gain_a_little(shared_data: Path) -> None:
    _, truth = nih_truth(shared_data / "nih_cxr14_labels" / "Data_Entry_2017_v2020.csv", without=["Hernia"])
    gains = []
    for seed in range(2):
        world = label_sets(truth, seed)
        train, test = world.draw(6_000, 60 + seed), world.draw(6_000, 80 + seed)
        _, refined, alone = fitted(train, test, strictness=2.0)
        gains.append(
            (
                np.mean(auc_per_label(test.truth, refined) - auc_per_label(test.truth, alone)),
                np.mean(losses(test.truth, alone) - losses(test.truth, refined)),
                np.mean(auc_per_label(test.truth, test.best) - auc_per_label(test.truth, alone)),
            )
        )
    auc, log_loss, most = np.mean(gains, axis=0)
    assert 0 < auc < most and log_loss > 0
