"""Prediction sets: what is promised, what was kept, and what leaving unsure cells aside gains."""

from __future__ import annotations

from typing import Any

from couplet.reporting.judge_sets import WORDS
from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Sets that may abstain"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """Coverage per class and category, shares of the kinds of sets, the risk-coverage curve."""
    found = drawn.gallery.trust.sets
    return {
        "sets": found,
        "words": WORDS,
        "hidden": run.has_test and not run.test_labelled,
        "wanted_view": run.params.decision.within == "view",
        "by_patient": run.params.split.group_by == "patient",
        "never": sorted({run.labels[row.label] for row in found.coverage if row.never_dropped}),
    }
