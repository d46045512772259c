"""The predicted probabilities, label by label."""

from __future__ import annotations

from typing import Any

from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Probabilities"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """The histograms."""
    return {"histograms": drawn.gallery.histograms}
