"""The sections, one after the other, as one HTML page that needs nothing else: no scripts, no requests, no fonts."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from couplet.reporting.estimates import run_scores
from couplet.reporting.gallery import Gallery
from couplet.reporting.picture import Picture
from couplet.reporting.section import Drawn, Section
from couplet.reporting.sections import (
    calibration,
    compare,
    couplings,
    data,
    decisions,
    explanations,
    external,
    folds,
    glance,
    groups,
    labels,
    provenance,
    scores,
    sets,
    suspicious,
    training,
)
from couplet.reporting.sections import open as left_open
from couplet.results.run import Run

# In the page's order.
SECTIONS: tuple[Section, ...] = (
    glance,
    compare,
    scores,
    labels,
    calibration,
    decisions,
    sets,
    groups,
    external,
    suspicious,
    couplings,
    explanations,
    folds,
    training,
    data,
    left_open,
    provenance,
)


class Rendered(NamedTuple):
    """One section, ready for the page."""

    id: str
    title: str
    html: str


def render(run: Run, gallery: Gallery, explanations: list[Picture] | None) -> str:
    """The report as HTML text."""
    environment = template_environment()
    drawn = Drawn(gallery, explanations, run_scores(run))
    rendered = []
    for section in SECTIONS:
        content = section.content(run, drawn)
        if content is not None:
            template = environment.get_template(f"sections/{section_id(section)}.jinja")
            html = template.render(run=run, params=run.params, **content)
            rendered.append(Rendered(section_id(section), section.TITLE, html))
    return environment.get_template("page.jinja").render(
        params=run.params, css=style_sheet(), sections=rendered
    )


def template_environment() -> jinja2.Environment:
    """What every page of couplet's is rendered with: escaped, and an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("couplet.reporting", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "percent": percent, "data_uri": data_uri, "setting": setting}
    return environment


def style_sheet() -> str:
    """The pages' CSS."""
    return Path(__file__).with_name("report.css").read_text(encoding="utf-8")


def section_id(section: Section) -> str:
    """The name of the section's file, of its template and of its place on the page."""
    return section.__name__.rpartition(".")[2]


# --- filters: how the templates write a value --------------------------------------------------------------


def number(value: float | None, digits: int = 4, sign: bool = False) -> str:
    """A number with a true minus sign; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash where there is none."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}%}"


def setting(value: Any) -> str:
    """A setting as params.yaml would write it in one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def data_uri(png: bytes) -> str:
    """PNG bytes as an address that holds them."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
