"""The images: how they were split, how often each label occurs in each part, and samples of every finding."""

from __future__ import annotations

from typing import Any

import numpy as np

from couplet.reporting.section import Drawn
from couplet.reporting.selection import GRID_LABELS, grid_labels, selection_note
from couplet.results.run import Run

TITLE = "Data and split"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """Positives per part as table and figure, and the montages; of many labels the table is folded away."""
    return {
        "parts": split_parts(run),
        "rows": split_rows(run),
        "many_labels": len(run.labels) > GRID_LABELS,
        "positives": drawn.gallery.positives,
        "samples": drawn.gallery.samples,
        "selection_note": selection_note(run, grid_labels(run)),
    }


def split_parts(run: Run) -> list[str]:
    """The parts that images are dealt to: folds in order, then "test" and "train" where they exist."""
    return sorted(
        set(run.fold_of), key=lambda part: (not part.isdigit(), int(part) if part.isdigit() else 0, part)
    )


def split_rows(run: Run) -> list[tuple[str, list[tuple[int, float] | None]]]:
    """(label, (positives, share of the known) per part of `split_parts`); None where a part knows nothing."""
    cells = []
    for part in split_parts(run):
        truth = run.truth[run.fold_of == part]
        positives, known = (truth == 1).sum(axis=0), np.isfinite(truth).sum(axis=0)
        cells.append([(int(p), p / k) if k else None for p, k in zip(positives, known, strict=True)])
    return [(label, [part[i] for part in cells]) for i, label in enumerate(run.labels)]
