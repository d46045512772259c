"""Rows to files: CSV, JSON and JSON lines. A file is replaced after its last row, or stays as it was."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from couplet.inference.trained import Ensemble
from couplet.predicting.rows import Row
from couplet.project.errors import UserError
from couplet.project.files import replacing, write_json
from couplet.results.predictions import PROBABILITY

ENDINGS = (".csv", ".json", ".jsonl")


class Writer(Protocol):
    """What takes rows, one after the other."""

    def write(self, row: Row) -> None:
        """Write one row."""
        ...


@contextmanager
def opened(path: Path, ensemble: Ensemble, head: dict[str, Any], first_column: str) -> Iterator[Writer]:
    """A writer of the format that the path's ending names.

    Raises:
        UserError: the ending is none of ENDINGS.
    """
    if path.suffix not in ENDINGS:
        raise UserError(
            f"--out {path}: the ending should be .csv, .json or .jsonl, or none for a folder of parts"
        )
    with ExitStack() as files:
        file = files.enter_context(replacing(path))
        if path.suffix == ".csv":
            decisions = None
            if ensemble.conformal is not None and first_column == "image_id":
                decisions = files.enter_context(replacing(decisions_path(path)))
            yield CsvWriter(file, decisions, ensemble.labels, first_column)
        elif path.suffix == ".json":
            writer = JsonWriter(file, ensemble, first_column)
            writer.begin(head)
            yield writer
            writer.end()
        else:
            yield JsonWriter(file, ensemble, first_column)
            write_json(head_path(path), head)


def decisions_path(path: Path) -> Path:
    """Where the decisions of a CSV are.

    >>> [decisions_path(Path(name)).name for name in ("predictions.csv", "monday.csv")]
    ['decisions.csv', 'monday.decisions.csv']
    """
    return path.with_name("decisions.csv" if path.stem == "predictions" else f"{path.stem}.decisions.csv")


def head_path(path: Path) -> Path:
    """Where the head of JSON lines is, all of whose lines are images."""
    return path.with_suffix(".head.json")


class CsvWriter:
    """image_id, status, reason and a column per label; beside it the decisions."""

    def __init__(self, file: BinaryIO, decisions: BinaryIO | None, labels: list[str], first: str) -> None:
        self.file, self.decisions, self.empty = file, decisions, [""] * len(labels)
        self._line(file, [first, "status", "reason", *labels])
        if decisions is not None:
            self._line(decisions, [first, *labels])

    def write(self, row: Row) -> None:
        """Write one row: calibrated probabilities where there are some, else the mean of the folds."""
        values = row.raw if row.q is None else row.q
        cells = self.empty if values is None else [PROBABILITY % value for value in values.tolist()]
        self._line(self.file, [row.id, row.status, row.reason, *cells])
        if self.decisions is not None:
            found = self.empty if row.decision is None else list(map(str, row.decision.tolist()))
            self._line(self.decisions, [row.id, *found])

    @staticmethod
    def _line(file: BinaryIO, cells: Sequence[str]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        file.write(text.getvalue().encode("utf-8", "backslashreplace"))


class JsonWriter:
    """An object per image: a line of its own, or in one object under `images` between `begin` and `end`."""

    def __init__(self, file: BinaryIO, ensemble: Ensemble, first: str) -> None:
        self.file, self.ensemble, self.first = file, ensemble, first
        self.between: bytes | None = None  # what stands before a row in one object

    def begin(self, head: dict[str, Any]) -> None:
        """Write the head of one object."""
        opening = json.dumps(head, indent=2, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
        self.file.write(f'{opening},\n  "images": ['.encode())
        self.between = b"\n    "

    def end(self) -> None:
        """Close the object."""
        self.file.write(b"\n  ]\n}\n")

    def write(self, row: Row) -> None:
        """Write one row."""
        line = json.dumps(record_of(row, self.ensemble, self.first), ensure_ascii=False, allow_nan=False)
        content = line.encode("utf-8", "backslashreplace")
        if self.between is None:
            self.file.write(content + b"\n")
        else:
            self.file.write(self.between + content)
            self.between = b",\n    "


def record_of(row: Row, ensemble: Ensemble, first: str = "image_id") -> dict[str, Any]:
    """A row as JSON has it."""

    def cell(values: np.ndarray | None, label: int) -> Any:
        return None if values is None else values[label].item()

    labels = None
    if row.raw is not None and row.by_fold is not None:
        thresholds = ensemble.thresholds
        labels = {
            name: {
                "raw": cell(row.raw, i),
                "calibrated": cell(row.q, i),
                "threshold": thresholds[i],
                "decision": cell(row.decision, i),
                "by_fold": row.by_fold[:, i].tolist(),
            }
            for i, name in enumerate(ensemble.labels)
        }
    return {first: row.id, "status": row.status, "reason": row.reason, "facts": row.facts, "labels": labels}
