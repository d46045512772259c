"""What the head looked at in a few images: maps and label graphs, drawn by `reporting.explanations`."""

from __future__ import annotations

from typing import Any

from couplet.reporting.explanations import SHOWN_FOLD
from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "What the model looks at"


def content(run: Run, drawn: Drawn) -> dict[str, Any] | None:
    """The pictures, what their maps are, and a graph head's settings; None if the head explains nothing."""
    if drawn.explanations is None:
        return None
    has_graphs = any(picture.name.endswith("_graphs") for picture in drawn.explanations)
    settings: Any = run.params.model.head_settings
    return {
        "pictures": drawn.explanations,
        "n_images": len(drawn.explanations) // (2 if has_graphs else 1),
        "fold": SHOWN_FOLD,
        "maps_mean": settings.maps_mean(),
        "graphs": run.params.model.head_args if has_graphs else None,
    }
