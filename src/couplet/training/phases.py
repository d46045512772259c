"""Training in phases, one after the other: each starts from the best weights of the one before.

Most predictors are trained in one phase, in which everything is trained. A chain of networks, or a head that is trained
on a finished backbone, has several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from couplet.models.predictor import Predictor
from couplet.training.loop import Trainer
from couplet.training.state import Progress


def _everything(predictor: Predictor) -> None:
    """Leave all parameters as they are: trainable."""


@dataclass(frozen=True)
class Phase:
    """One training, from its first epoch to its best.

    Attributes:
        folder: of its unfinished work, below the run's; "." is the run's own.
        begin: told before the phase what it trains: which parameters take part (requires_grad), how they start.
    """

    folder: str = "."
    begin: Callable[[Predictor], None] = _everything


WHOLE = Phase()


def phases_of(predictor: Predictor) -> tuple[Phase, ...]:
    """One phase for each level of a chain of networks; a single network is trained as a whole."""
    if predictor.n_levels == 1:
        return (WHOLE,)
    return tuple(
        Phase(f"level_{level}", partial(Predictor.train_level, level=level))
        for level in range(predictor.n_levels)
    )


def train_in_phases(
    predictor: Predictor,
    trainer_of: Callable[[Predictor], Trainer],
    folder: Path,
    phases: Sequence[Phase] = (WHOLE,),
) -> Trainer:
    """Train `predictor` through all phases, going on where a killed run stopped.

    Args:
        predictor: at its start; afterwards it holds the last phase's best weights.
        trainer_of: a new trainer of the predictor as the phase has made it ready.
        folder: of the run's unfinished work.
        phases: at least one; their folders differ.

    Returns:
        The last phase's trainer, which knows how the phases before it went.
    """
    earlier: list[Progress] = []
    for phase in phases:
        phase.begin(predictor)
        trainer = trainer_of(predictor)
        trainer.earlier = earlier
        trainer.run(folder / phase.folder)
        predictor.load_own_state(trainer.best)
        earlier = [*earlier, trainer.progress]
    return trainer
