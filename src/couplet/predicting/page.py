"""A page to look at predictions: one file that needs no network, its pictures, maps, styles and script inside.

It is written picture by picture, so that memory does not grow with it. What files say of people is not read at all;
pictures are called what the table calls them (`--id digest` leaves file names out).
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import jinja2
import matplotlib
import numpy as np

from couplet.inference.calibrate import of_model
from couplet.inference.trained import Ensemble
from couplet.predicting.rows import Row
from couplet.project.files import replacing
from couplet.reporting.page import data_uri, number, percent
from couplet.reporting.pictures import to_image

MOST_PICTURES = 1000  # of a page: with 380 pixels each they take 60 MB, which browsers still scroll
MOST_LABELS = 20  # of a picture's own table; any label can be chosen at the top
PNG_UP_TO = 128  # pixels of a side; larger pictures become JPEG
DECISIONS = ("absent", "present", "unsure", "unlike both")


@dataclass
class Page:
    """A page that is being written."""

    file: BinaryIO
    ensemble: Ensemble
    environment: jinja2.Environment
    counts: Counter[str] = field(default_factory=Counter)
    # Shown below the pictures, as many as there are pictures at most.
    refused: list[Row] = field(default_factory=list)

    def seen(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, each put on the page before it is passed on."""
        card = self.environment.get_template("card.jinja")
        for row in rows:
            self.counts[row.status] += 1
            if row.pixels is None or row.raw is None:
                if len(self.refused) < MOST_PICTURES:
                    self.refused.append(row)
            elif self.counts["shown"] < MOST_PICTURES:
                self.counts["shown"] += 1
                shown = card_of(row, self.ensemble)
                self.file.write(card.render(shown, number_on_page=self.counts["shown"]).encode())
            yield row


@contextmanager
def opened_page(path: Path, ensemble: Ensemble, head: dict[str, Any]) -> Iterator[Page]:
    """A page at `path`, replaced at the end."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("couplet.predicting", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent}
    here = Path(__file__)
    parts = {name: here.with_name(f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    with replacing(path) as file:
        about = {"ensemble": ensemble, "head": head, "colours": _colours(), **parts}
        file.write(environment.get_template("page_head.jinja").render(about).encode())
        page = Page(file, ensemble, environment)
        yield page
        end = {"counts": page.counts, "refused": page.refused, **about}
        file.write(environment.get_template("page_foot.jinja").render(end).encode())


def card_of(row: Row, ensemble: Ensemble) -> dict[str, Any]:
    """What one picture's card shows.

    `spread` (L,) is the highest minus the lowest fold's probability, calibrated one by one where there are calibrators:
    how far the folds disagree.
    """
    assert row.raw is not None and row.by_fold is not None and row.pixels is not None
    values = row.raw if row.q is None else row.q
    folds = row.by_fold
    if ensemble.calibration is not None:
        folds = of_model(ensemble.calibration.calibrators, ensemble.calibration.posterior)(folds)
    spread = np.ptp(folds, axis=0)
    thresholds = ensemble.thresholds
    # By how far a value is above its threshold, where many labels leave room for some only.
    above = np.array(
        [v - (0.5 if t is None else t) for v, t in zip(values.tolist(), thresholds, strict=True)]
    )
    shown = np.sort(np.argsort(-above, kind="stable")[:MOST_LABELS])
    decisions = [None] * len(values) if row.decision is None else row.decision.tolist()
    return {
        "row": row,
        "views_matter": ensemble.views_matter and row.decision is not None,
        "picture": _picture(row.pixels),
        "values": [float(f"{value:.4g}") for value in values.tolist()],
        "spread": [float(f"{value:.4g}") for value in spread.tolist()],
        "decisions": decisions,
        "maps": "" if row.maps is None else _packed(row.maps),
        "map_size": None if row.maps is None else list(row.maps.shape[1:]),
        "lines": [
            {
                "label": int(i),
                "name": ensemble.labels[i],
                "value": float(values[i]),
                "threshold": thresholds[i],
                "decision": "" if decisions[i] is None else DECISIONS[decisions[i]],
                "spread": float(spread[i]),
            }
            for i in shown
        ],
    }


def _picture(pixels: np.ndarray) -> str:
    image, file = to_image(pixels), io.BytesIO()
    if max(image.size) <= PNG_UP_TO:
        image.save(file, "PNG")
        return data_uri(file.getvalue())
    image.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _packed(maps: np.ndarray) -> str:
    """Maps (L, h, w), each from its smallest to its largest value as 0 to 255, in base64."""
    low, high = (edge(maps, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    room = np.where(high > low, high - low, 1)
    return base64.b64encode(np.rint((maps - low) / room * 255).astype(np.uint8).tobytes()).decode("ascii")


def _colours() -> str:
    """Inferno from purple to yellow, as the report's overlays have it: 256 x (red, green, blue) in base64."""
    table = matplotlib.colormaps["inferno"](0.25 + 0.75 * np.linspace(0, 1, 256))[:, :3]
    return base64.b64encode(np.rint(table * 255).astype(np.uint8).tobytes()).decode("ascii")
