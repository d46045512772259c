"""What several sections take from a run: its couplings, what its loss says of nothing, and the flags of its numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from couplet.evaluation.estimate import FLAGS, Estimate
from couplet.reporting.no_information import no_information_output, states_the_risk
from couplet.results.run import Run


def couplings_of_folds(run: Run) -> np.ndarray | None:
    """(K, L, L) masked A of every fold's model; None without a refiner."""
    matrices = [fold.couplings for fold in run.folds if fold.couplings is not None]
    return np.stack(matrices) if matrices else None


def no_information(run: Run, prevalence: float) -> float:
    """What this run's loss asks for where an image says nothing; NaN where that is the prevalence or not known."""
    loss = run.params.loss
    return float("nan") if states_the_risk(loss) else no_information_output(loss, prevalence)


def legend(estimates: Iterable[Estimate]) -> list[tuple[str, str]]:
    """(flag, what it means) of the flags that these numbers have.

    >>> legend([Estimate(0.5, reason="one patient", flags=("few",)), Estimate(0.5, reason="one patient")])
    [('few', 'fewer than 10 patients with a positive image')]
    """
    used = {flag for estimate in estimates for flag in estimate.flags}
    return [(flag, meaning) for flag, meaning in FLAGS.items() if flag in used]
