"""What calling images positive at the headline rule's thresholds achieves."""

from __future__ import annotations

from typing import Any

from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Decisions"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """Thresholds with their range, and per labelled part the shares and net benefits."""
    found = drawn.gallery.trust.decisions
    return {
        "decisions": found,
        "hidden": run.has_test and not run.test_labelled,
        "with_spread": any(row.spread is not None for row in found.rows),
    }
