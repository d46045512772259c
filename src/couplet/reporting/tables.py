"""What several sections take from a run: what its loss says of nothing, and the flags of its numbers."""

from __future__ import annotations

from collections.abc import Iterable

from couplet.evaluation.estimate import FLAGS, Estimate
from couplet.reporting.no_information import no_information_output, states_the_risk
from couplet.results.run import Run


def scores_no_risks(run: Run) -> bool:
    """Whether this run's probabilities are scores by their loss; refined ones are probabilities whatever it is."""
    return run.fitted is None and not states_the_risk(run.params.loss)


def no_information(run: Run, prevalence: float) -> float:
    """What this run's loss asks for where an image says nothing; NaN where that is the prevalence or not known."""
    return no_information_output(run.params.loss, prevalence) if scores_no_risks(run) else float("nan")


def legend(estimates: Iterable[Estimate]) -> list[tuple[str, str]]:
    """(flag, what it means) of the flags that these numbers have.

    >>> legend([Estimate(0.5, reason="one patient", flags=("few",)), Estimate(0.5, reason="one patient")])
    [('few', 'fewer than 10 patients with a positive image')]
    """
    used = {flag for estimate in estimates for flag in estimate.flags}
    return [(flag, meaning) for flag, meaning in FLAGS.items() if flag in used]
