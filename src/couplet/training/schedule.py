"""Learning rate factors per optimiser step. A skipped batch is no step: it does not advance them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from couplet.settings.params import ScheduleParams


def warmup_cosine(step: int, steps_per_epoch: int, epochs: int, warmup_epochs: int) -> float:
    """Linear from 0 over the warm-up's w steps, then 0.5 (1 + cos(pi * progress)).

    progress = (s - w) / (T - w) at step s of T = epochs * steps_per_epoch. So the factor is 0 at step 0, 1 at
    step w, and 0 only at T, after the last step T - 1: no step but the first is wasted.

    Args:
        step: optimiser steps done so far, from 0.

    Returns:
        A factor in [0, 1] of each group's base learning rate.

    >>> [round(warmup_cosine(step, 4, epochs=3, warmup_epochs=1), 4) for step in (0, 2, 4, 8, 11, 12)]
    [0.0, 0.5, 1.0, 0.5, 0.0381, 0.0]
    """
    warmup, total = warmup_epochs * steps_per_epoch, epochs * steps_per_epoch
    if step < warmup:
        return step / warmup
    progress = min((step - warmup) / max(total - warmup, 1), 1.0)
    return 0.5 * (1 + math.cos(math.pi * progress))


def step_decay(step: int, steps_per_epoch: int, milestones: Sequence[int], factor: float) -> float:
    """`factor` to the power of the milestones reached: epoch m (from 0) starts with the lower rate already.

    >>> [step_decay(step, 10, milestones=[3, 4], factor=0.5) for step in (0, 29, 30, 40)]
    [1.0, 1.0, 0.5, 0.25]
    """
    return float(factor ** sum(step >= milestone * steps_per_epoch for milestone in milestones))


def plateau(scores: Sequence[float], patience: int, factor: float) -> float:
    """`factor` to the power of how often validation has not improved for more than `patience` epochs.

    torch's ReduceLROnPlateau with mode max and threshold 0, as a function of all that it was told: a run that goes on
    needs no state but its history.

    Args:
        scores: validation macro-AUC of the epochs done, in order.
        patience: epochs that may be no better than the best so far; counted anew from each fall.

    >>> [plateau([0.7, 0.8, 0.8, 0.79, 0.75, 0.7][:n], patience=1, factor=0.5) for n in range(7)]
    [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25]
    """
    best, waited, falls = float("-inf"), 0, 0
    for score in scores:
        waited = 0 if score > best else waited + 1
        best = max(best, score)
        if waited > patience:
            falls, waited = falls + 1, 0
    return float(factor**falls)


def learning_rate_factor(
    schedule: ScheduleParams, step: int, steps_per_epoch: int, scores: Sequence[float] = ()
) -> float:
    """The factor that params.yaml's section `schedule` asks for at a step.

    Args:
        schedule: the section.
        step: optimiser steps done so far, from 0.
        steps_per_epoch: of the training.
        scores: validation macro-AUC of the epochs done; `plateau` alone reads them.
    """
    if schedule.name == "plateau":
        return plateau(scores, schedule.patience, schedule.factor)
    if schedule.name == "step":
        return step_decay(step, steps_per_epoch, schedule.milestones, schedule.factor)
    return warmup_cosine(step, steps_per_epoch, schedule.epochs, schedule.warmup_epochs)
