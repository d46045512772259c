"""What the second paper's head makes of a few images: maps and label graphs, drawn by `reporting.explanations`."""

from __future__ import annotations

from typing import Any

from couplet.reporting.explanations import SHOWN_FOLD
from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "What the graphs see"


def content(run: Run, drawn: Drawn) -> dict[str, Any] | None:
    """The pictures, two per image, and the head's settings; None if the head explains nothing."""
    if drawn.explanations is None:
        return None
    return {
        "pictures": drawn.explanations,
        "n_images": len(drawn.explanations) // 2,
        "fold": SHOWN_FOLD,
        "head": run.params.model.head_args,
    }
