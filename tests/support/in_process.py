"""A couplet project whose commands run in the tests' own process (in milliseconds), and what is seen afterwards."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm

from couplet.cli import main
from couplet.images.loading.store import ImageStore
from couplet.results.manifest import SHARD_STRIDE
from tests.support.params import change_params

# What stages write: a refused case must leave all of it as it was.
OUTPUTS = (
    "params.yaml",
    "data/inventory.json",
    "data/weights.json",
    "data/prepared",
    "data/prepared.unfinished",
    "data/external",
    "data/external.unfinished",
    "data/splits",
    "data/models",
    "data/predictions",
    "data/bundle",
    "metrics",
    "plots",
)


@dataclass
class Outcome:
    """How a command ended, and what it printed, without what differs from machine to machine."""

    code: int
    out: list[str]
    err: list[str]


@dataclass
class InProcessProject:
    """A couplet project in a folder of its own, which is the current directory while commands run."""

    folder: Path
    source: str

    @property
    def raw(self) -> Path:
        """The raw folder."""
        return self.folder / "data/raw" / self.source

    def run(self, *arguments: str) -> Outcome:
        """Run `couplet ...` in this process."""
        out, err, code = io.StringIO(), io.StringIO(), 0
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(list(arguments))
            except SystemExit as end:
                code = int(end.code or 0)
        return Outcome(code, *(self._stable(stream.getvalue()).splitlines() for stream in (out, err)))

    def _stable(self, printed: str) -> str:
        """What differs from machine to machine, replaced by what it is."""
        printed = printed.replace(str(self.folder), "{project}").replace(timm.__version__, "{version}")
        printed = re.sub(r"[\d.]+ GB left", "{free} GB left", printed)
        printed = re.sub(r"best-\d+\.", "best-{epoch}.", printed)
        printed = re.sub(r"predictions give \d\.\d+", "predictions give {auc}", printed)
        printed = re.sub(r"line \d+ column \d+ \(char \d+\)", "{place}", printed)
        return re.sub(r"/[0-9a-f]{20,32}\b", "/{key}", printed)

    def set(self, changes: dict[str, Any]) -> None:
        """Change params.yaml: {"refiner.enabled": "maybe"}. Nothing is validated."""
        change_params(self.folder, changes)

    def outputs(self) -> dict[str, bytes]:
        """Content of every file that commands write, half-written ones included."""
        places = [self.folder / name for name in OUTPUTS]
        files = [path for place in places for path in (place, *place.rglob("*")) if path.is_file()]
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}

    # --- what is seen ---------------------------------------------------------------------------------------

    def entry(self, path: str, dotted: str) -> Any:
        """A value in a JSON file."""
        content = json.loads((self.folder / path).read_text())
        for key in dotted.split("."):
            content = content[key]
        return content

    def row(self, path: str, first_cell: str) -> dict[str, str]:
        """The row of a CSV file that begins with `first_cell`, as text."""
        table = pd.read_csv(self.folder / path, dtype=str, keep_default_na=False)
        return dict(table[table.iloc[:, 0] == first_cell].iloc[0])

    def cell(self, path: str, first_cell: str, column: str) -> str:
        """A cell of that row."""
        return self.row(path, first_cell)[column]

    def column(self, path: str, name: str) -> list[str]:
        """A column of a CSV file, as text."""
        return pd.read_csv(self.folder / path, dtype=str, keep_default_na=False)[name].tolist()

    def quarantine(self) -> dict[str, str]:
        """Reason of every quarantined image."""
        path = "data/prepared/quarantine.csv"
        return dict(zip(self.column(path, "image_id"), self.column(path, "reason"), strict=True))

    def size(self, image_id: str) -> str:
        """Original size of an image."""
        row = self.row("data/prepared/manifest.csv", image_id)
        return f"{row['width']} x {row['height']}"

    def quarters(self, image_id: str) -> list[int]:
        """Median grey level of the stored image's quarters: top left, top right, bottom left, bottom right."""
        row = self.row("data/prepared/manifest.csv", image_id)
        position = int(row["shard"]) * SHARD_STRIDE + int(row["row"])
        image = ImageStore(self.folder / "data/prepared").read(np.array([position]))[0, 0]
        half = len(image) // 2
        parts = (image[:half, :half], image[:half, half:], image[half:, :half], image[half:, half:])
        return [int(np.median(part)) for part in parts]

    def report_says(self, sentence: str) -> bool:
        """Whether the report's first screen holds this text."""
        page = (self.folder / "plots/report.html").read_text().split('id="compare"')[0]
        return sentence in " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())
