"""What a part of the page is: a file in sections/ that follows `Section`, and the template of its name beside it.

A new part is `sections/<id>.py`, `sections/<id>.jinja` and its place in `page.SECTIONS`. The template holds the
whole element with id="<id>", to which the navigation leads; it sees `run`, `params` and what `content` returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from couplet.reporting.estimates import RunScores
from couplet.reporting.gallery import Gallery
from couplet.reporting.picture import Picture
from couplet.results.run import Run


@dataclass(frozen=True)
class Drawn:
    """What several sections show of a run, made before the page is put together."""

    gallery: Gallery
    explanations: list[Picture] | None  # None: the head explains nothing
    scores: RunScores


class Section(Protocol):
    """One part of the page, as its module offers it. The module's name is its id."""

    __name__: str
    TITLE: str  # in the page's navigation

    def content(self, run: Run, drawn: Drawn) -> dict[str, Any] | None:
        """What the section's template shows, by name; None if this run has nothing to show there."""
