"""What jointly trained couplings gain where labels show only through others, through the product's own training.

The linear head's loss of AUC against the best prediction is known there (tests/couplings_probe.py).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.couplings_probe import N_LABELS, N_SEEN, independent_labels, known_couplings
from tests.support.probe import JOINT, OFF, Trained, train

SEEN, HIDDEN = np.arange(N_SEEN), np.arange(N_SEEN, N_LABELS)
ARMS: dict[str, dict[str, Any]] = {
    "off": OFF,
    "paper": {},
    "joint": JOINT,
    "gate": JOINT | {"refiner.conditional": "gate"},
}


@cache
def trained(arm: str, seed: int, context: bool = False) -> Trained:
    """The arms of a seed have the same images, first weights and order."""
    return train(known_couplings(seed, context), seed, ARMS[arm])


def check_joint(seed: int) -> None:
    couplings, off, joint = known_couplings(seed).couplings, trained("off", seed), trained("joint", seed)
    assert joint.auc(HIDDEN) - off.auc(HIDDEN) > 0.02
    assert abs(joint.auc(SEEN) - off.auc(SEEN)) < 0.002
    edges, found = couplings != 0, joint.couplings != 0
    right = np.sign(joint.couplings) == np.sign(couplings)
    assert right[edges & found].mean() >= 0.95 and found[edges].mean() >= 0.9
    cells = found.size - len(found)
    assert (cells - found.sum()) / cells > 0.6, "exact zeros"


def test_joint_couplings_gain_and_have_the_right_signs() -> None:
    check_joint(0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_joint_couplings_gain_for_other_seeds(seed: int) -> None:
    check_joint(seed)


def check_paper(seed: int) -> None:
    couplings, off, paper = known_couplings(seed).couplings, trained("off", seed), trained("paper", seed)
    assert abs(paper.auc(HIDDEN) - off.auc(HIDDEN)) < 0.001
    edges = couplings != 0
    assert (np.sign(paper.couplings) == np.sign(couplings))[edges].mean() < 0.75, "its signs mean nothing"


def test_the_first_papers_settings_gain_nothing() -> None:
    check_paper(0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_the_first_papers_settings_gain_nothing_for_other_seeds(seed: int) -> None:
    check_paper(seed)


@pytest.mark.slow
def test_independent_labels_lose_nothing() -> None:
    world = independent_labels(0)
    off, joint = (train(world, 0, arm) for arm in (OFF, JOINT))
    assert abs(joint.auc(np.arange(14)) - off.auc(np.arange(14))) < 0.002


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_gate_gains_where_the_image_switches_couplings_on(seed: int) -> None:
    fixed, gated = (trained(arm, seed, context=True) for arm in ("joint", "gate"))
    assert gated.auc(HIDDEN) - fixed.auc(HIDDEN) > 0.005
