"""How often the folds' models agree on the test part, and how far their probabilities are apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from couplet.evaluation.estimate import Estimate, source_of
from couplet.evaluation.metrics import THRESHOLD
from couplet.evaluation.proportions import proportion
from couplet.reporting.agreement import kappa_estimate
from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Agreement of the folds"


class Vote(NamedTuple):
    """One outcome of the folds' vote: how many say yes and no, of how many cells, and the share."""

    yes: int
    no: int
    cells: int
    share: Estimate


class Pair(NamedTuple):
    """Two folds: the share of cells in which they say the same, and Cohen's kappa."""

    one: int
    other: int
    agreement: Estimate
    kappa: Estimate


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
        share = _about(run, proportion(cells.mean(axis=1), patients), run.params.split.folds)
        rows.append(Vote(yes, k - yes, int(cells.sum()), share))
    return rows


def pairs(run: Run) -> list[Pair]:
    """Every pair of folds."""
    patients, said = run.patients[run.test_rows], run.test_by_fold >= THRESHOLD
    rows = []
    for i in range(len(run.folds)):
        for j in range(i + 1, len(run.folds)):
            folds = [run.folds[i].fold, run.folds[j].fold]
            same = proportion((said[i] == said[j]).mean(axis=1), patients)
            kappa = kappa_estimate(said[i], said[j], patients)
            rows.append(Pair(folds[0], folds[1], _about(run, same, folds), _about(run, kappa, folds)))
    return rows


def _about(run: Run, estimate: Estimate, folds: list[int]) -> Estimate:
    project = run.manifest.project
    sources = (source_of(project.test_predictions(fold), project.root) for fold in folds)
    return replace(estimate, flags=run.leaks.flags_of("test")).of(*sources)
