"""What several sections take from a run: what its loss says of nothing, and the flags of its numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from couplet.evaluation.estimate import FLAGS, Estimate
from couplet.reporting.no_information import no_information_outputs, states_the_risk
from couplet.results.run import Run


def scores_no_risks(run: Run) -> bool:
    """Whether this run's probabilities are scores by their loss; refined ones are probabilities whatever it is."""
    return run.fitted is None and not states_the_risk(run.params.loss)


def no_information(run: Run, prevalences: np.ndarray) -> np.ndarray:
    """(L,) what this run's loss asks for where an image says nothing, of labels with these prevalences.

    NaN where that is the prevalence or not known.
    """
    if not scores_no_risks(run):
        return np.full(len(prevalences), np.nan)
    return no_information_outputs(run.params.loss, prevalences)


def legend(estimates: Iterable[Estimate]) -> list[tuple[str, str]]:
    """(flag, what it means) of the flags that these numbers have.

    >>> legend([Estimate(0.5, reason="one patient", flags=("few",)), Estimate(0.5, reason="one patient")])
    [('few', 'fewer than 10 patients with a positive image')]
    """
    used = {flag for estimate in estimates for flag in estimate.flags}
    return [(flag, meaning) for flag, meaning in FLAGS.items() if flag in used]
