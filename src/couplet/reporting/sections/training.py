"""The training curves, and what each fold's model records of its training."""

from __future__ import annotations

from typing import Any

from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Training"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """The curves; the template reads the table from the folds' records; fp16's overflows from their histories."""
    return {"curves": drawn.gallery.training, "overflowed": overflowed_batches(run)}


def overflowed_batches(run: Run) -> dict[int, int | None]:
    """By fold the batches that overflowed fp16's scale; None for a fold in another precision, {} if all are."""
    counts = {
        fold.fold: int(fold.history["overflowed_batches"].sum())
        if "overflowed_batches" in fold.history
        else None
        for fold in run.folds
    }
    return counts if any(count is not None for count in counts.values()) else {}
