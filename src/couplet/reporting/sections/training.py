"""The training curves, and what each fold's model records of its training."""

from __future__ import annotations

from typing import Any

import numpy as np

from couplet.evaluation.estimate import Estimate, source_of
from couplet.reporting.section import Drawn
from couplet.results.model_record import NAME
from couplet.results.run import FoldRun, Run

TITLE = "Training"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """The curves; the template reads the table from the folds' records; fp16's overflows from their histories."""
    return {
        "curves": drawn.gallery.training,
        "overflowed": overflowed_batches(run),
        "validation": {fold.fold: validation_auc(run, fold) for fold in run.folds},
    }


def validation_auc(run: Run, fold: FoldRun) -> Estimate:
    """What chose the fold's epoch. It has no interval: the predictions that it is of are not kept."""
    record, project = fold.record, run.manifest.project
    rows = fold.rows
    return Estimate(
        record.val_auc_macro if np.isfinite(record.val_auc_macro) else None,
        reason="without flip augmentation, its predictions are not kept",
        n_images=len(rows),
        n_patients=len(np.unique(run.patients[rows])),
        source=(source_of(project.model(fold.fold) / NAME, project.root),),
        flags=run.leaks.flags_of("oof"),
    )


def overflowed_batches(run: Run) -> dict[int, int | None]:
    """By fold the batches that overflowed fp16's scale; None for a fold in another precision, {} if all are."""
    counts = {
        fold.fold: int(fold.history["overflowed_batches"].sum())
        if "overflowed_batches" in fold.history
        else None
        for fold in run.folds
    }
    return counts if any(count is not None for count in counts.values()) else {}
