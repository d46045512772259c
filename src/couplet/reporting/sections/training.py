"""The training curves, and what each fold's model records of its training."""

from __future__ import annotations

from typing import Any

from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Training"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """The curves; the template reads the table from the folds' records."""
    return {"curves": drawn.gallery.training}
