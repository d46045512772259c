"""How often the folds' models agree on the test part, and how far their probabilities are apart."""

from __future__ import annotations

from typing import Any, NamedTuple

from couplet.evaluation.estimate import Estimate
from couplet.evaluation.metrics import THRESHOLD
from couplet.evaluation.proportions import proportion
from couplet.reporting.agreement import of_folds, pairs
from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Agreement of the folds"


class Vote(NamedTuple):
    """One outcome of the folds' vote: how many say yes and no, of how many cells, and the share."""

    yes: int
    no: int
    cells: int
    share: Estimate


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """Figures and tables of the agreement; with one fold, or no test part, the section says why not."""
    there = drawn.gallery.agreement_numbers is not None
    return {
        "agreement": drawn.gallery.agreement,
        "spread": drawn.gallery.spread,
        "votes": votes(run) if there else [],
        "pairs": pairs(run) if there else [],
        "threshold": THRESHOLD,
    }


def votes(run: Run) -> list[Vote]:
    """Every possible outcome of the folds' vote over all image x label cells, from all yes to all no."""
    k, patients = len(run.folds), run.patients[run.test_rows]
    yes_of_cell = (run.test_by_fold >= THRESHOLD).sum(axis=0)
    rows = []
    for yes in range(k, -1, -1):
        cells = yes_of_cell == yes
        share = of_folds(
            run, proportion(cells.mean(axis=1), patients, cells=cells.shape[1]), run.params.split.folds
        )
        rows.append(Vote(yes, k - yes, int(cells.sum()), share))
    return rows
