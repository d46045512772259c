from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from couplet.settings.params import ScheduleParams
from couplet.training.schedule import learning_rate_factor, plateau, step_decay, warmup_cosine


def test_learning_rate_at_start_warmup_end_and_last_step():
    steps, epochs, warmup = 100, 3, 1  # 300 steps, 100 of them warm-up
    assert warmup_cosine(0, steps, epochs, warmup) == 0.0
    assert warmup_cosine(99, steps, epochs, warmup) == pytest.approx(0.99)
    assert warmup_cosine(100, steps, epochs, warmup) == 1.0
    assert warmup_cosine(200, steps, epochs, warmup) == pytest.approx(0.5)
    assert warmup_cosine(299, steps, epochs, warmup) == pytest.approx(
        0.5 * (1 + math.cos(math.pi * 199 / 200))
    )
    assert 0 < warmup_cosine(299, steps, epochs, warmup) < 1e-4
    assert warmup_cosine(300, steps, epochs, warmup) == warmup_cosine(900, steps, epochs, warmup) == 0.0


def test_it_rises_then_falls_and_stays_in_range():
    factors = [warmup_cosine(step, 37, 5, 2) for step in range(5 * 37)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors[: 2 * 37 + 1] == sorted(factors[: 2 * 37 + 1])
    assert factors[2 * 37 :] == sorted(factors[2 * 37 :], reverse=True)
    assert max(factors) == factors[2 * 37] == 1.0


def test_without_warmup_it_starts_at_one():
    assert warmup_cosine(0, 10, 3, 0) == 1.0


def test_steps_fall_at_the_start_of_their_epoch():
    # The second paper: times 0.1 at the start of epochs 30 and 40 of 50.
    factors = [step_decay(step, 7, [30, 40], 0.1) for step in range(50 * 7)]
    assert factors[: 30 * 7] == [1.0] * (30 * 7)
    assert factors[30 * 7 : 40 * 7] == pytest.approx([0.1] * (10 * 7))
    assert factors[40 * 7 :] == pytest.approx([0.01] * (10 * 7))
    assert step_decay(10**6, 7, [], 0.1) == 1.0


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateau_is_torchs_reduce_lr_on_plateau(patience: int):
    random = np.random.default_rng(patience)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=patience, threshold=0, min_lr=0, eps=0
    )
    scores: list[float] = []
    for score in random.integers(60, 75, 40) / 100:  # with ties
        scores.append(float(score))
        theirs.step(score)
        assert plateau(scores, patience, 0.5) == optimizer.param_groups[0]["lr"]
    assert optimizer.param_groups[0]["lr"] < 1


def test_the_settings_choose_the_schedule():
    cosine = ScheduleParams(epochs=4, warmup_epochs=2)
    assert learning_rate_factor(cosine, 5, 10) == warmup_cosine(5, 10, 4, 2) == 0.25
    steps = ScheduleParams(name="step", epochs=4, milestones=[2], factor=0.5)
    assert learning_rate_factor(steps, 25, 10) == 0.5
    falling = ScheduleParams(name="plateau", epochs=4, warmup_epochs=0, factor=0.5, patience=0)
    assert learning_rate_factor(falling, 25, 10, [0.7, 0.7]) == 0.5
