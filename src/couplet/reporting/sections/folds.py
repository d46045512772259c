"""How often the folds' models agree on the test part, and how far their probabilities are apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from couplet.evaluation.metrics import THRESHOLD
from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Agreement of the folds"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """Figures and tables of the agreement; with one fold, or no test part, the section says why not."""
    return {
        "agreement": drawn.gallery.agreement,
        "spread": drawn.gallery.spread,
        "votes": votes(run, drawn),
        "pairs": pairs(run, drawn),
        "threshold": THRESHOLD,
    }


def votes(run: Run, drawn: Drawn) -> list[tuple[str, int, float]]:
    """(yes–no, cells, share) for every possible outcome of the folds' vote."""
    numbers = drawn.gallery.agreement_numbers
    if numbers is None:
        return []
    k, total = len(run.folds), int(numbers.votes.sum())
    return [
        (f"{yes}–{k - yes}", int(numbers.votes[yes]), numbers.votes[yes] / total) for yes in range(k, -1, -1)
    ]


def pairs(run: Run, drawn: Drawn) -> list[tuple[int, int, float, float | None]]:
    """(fold, fold, agreement, kappa or None) for every pair of folds."""
    numbers = drawn.gallery.agreement_numbers
    if numbers is None:
        return []
    return [
        (
            run.folds[i].fold,
            run.folds[j].fold,
            float(numbers.agreement[i, j]),
            None if np.isnan(numbers.kappa[i, j]) else float(numbers.kappa[i, j]),
        )
        for i in range(len(run.folds))
        for j in range(i + 1, len(run.folds))
    ]
