"""A folder of parts: a run over many files that is killed goes on with the part it was at.

part-00000.csv              4,096 inputs each, as the one file would have them
part-00000.decisions.csv    where sets are made
part-00000.json             written last: what the part follows from, and the digests of its files
predictions.csv             at the end: the parts in order
decisions.csv
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from couplet.inference.trained import Ensemble
from couplet.predicting.inputs import Input
from couplet.predicting.rows import Options, Row
from couplet.predicting.writers import CsvWriter, decisions_path
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.project.files import read_json, replacing, sha256_of, write_json

PART = 4096

Counts = dict[str, int]  # rows of a part by status


class Part(NamedTuple):
    """A part that is to be there: its CSV file, its inputs, and the digest of what it follows from."""

    path: Path
    inputs: Sequence[Input]
    key: str


def write_parts(
    folder: Path,
    files: Sequence[Input],
    ensemble: Ensemble,
    options: Options,
    made: Callable[[Iterable[Part]], Iterator[Counts]],
    part_size: int = PART,
) -> list[Counts]:
    """Let the parts be made that are not there yet, and put all of them together.

    Args:
        folder: of the parts.
        files: all inputs.
        ensemble, options: that the rows follow from.
        made: sees to it that each part is there, and gives their counts in order: `made_here`, or
            `tasks.made_by_tasks`.
        part_size: inputs of a part.

    Returns:
        Of each part how many rows have each status.
    """
    planned = (
        Part(folder / f"part-{number:05d}.csv", inputs, key_of(inputs, ensemble, options))
        for number, start in enumerate(range(0, len(files), part_size))
        for inputs in [files[start : start + part_size]]
    )
    counts = list(made(planned))
    paths = [folder / f"part-{number:05d}.csv" for number in range(len(counts))]
    for left in sorted(set(folder.glob("part-?????.*")) - {file for path in paths for file in _files(path)}):
        left.unlink()  # of a longer run before this one
    with ExitStack() as opened:
        whole = [opened.enter_context(replacing(folder / "predictions.csv"))]
        if ensemble.conformal is not None:
            whole.append(opened.enter_context(replacing(folder / "decisions.csv")))
        for number, path in enumerate(paths):
            for target, source in zip(whole, (path, decisions_path(path)), strict=False):
                with source.open("rb") as part:
                    head = part.readline()
                    target.write((head if number == 0 else b"") + part.read())
    return counts


def made_here(
    parts: Iterable[Part], rows_of: Callable[[Sequence[Input]], Iterator[Row]], ensemble: Ensemble
) -> Iterator[Counts]:
    """Write the parts that are not there yet, one after the other; `rows_of` gives the rows of some inputs."""
    for part in parts:
        counted = counts_of(part)
        if counted is None:
            counted = write_part(part, rows_of(part.inputs), ensemble)
        else:
            say(f"{part.path} is there already")
        yield counted


def _files(path: Path) -> tuple[Path, ...]:
    return path, decisions_path(path), path.with_suffix(".json")


def key_of(inputs: Sequence[Input], ensemble: Ensemble, options: Options) -> str:
    """What a part follows from: its files by name, size and time of change, the model, and how rows are made."""
    content = [[file.name, str(file.path.absolute()), file.number, *_stat(file.path)] for file in inputs]
    settings = [ensemble.digest, ensemble.batch_size, options.ids, options.unsuitable, options.view]
    settings.append(ensemble.known_labels)
    # How the networks are shown a picture is a setting and no part of their files; in an exported graph it is fixed.
    settings += [getattr(ensemble.engine, name, None) for name in ("tta", "view")]
    if options.maps:
        settings.append("maps")
    return hashlib.sha256(json.dumps([content, settings]).encode()).hexdigest()


def _stat(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def write_part(part: Part, rows: Iterator[Row], ensemble: Ensemble) -> Counts:
    """Write a part's rows, and its record last; how many rows have each status."""
    path, counted = part.path, Counts()
    with ExitStack() as files:
        file = files.enter_context(replacing(path))
        decisions = None
        if ensemble.conformal is not None:
            decisions = files.enter_context(replacing(decisions_path(path)))
        writer = CsvWriter(file, decisions, ensemble.labels, "image_id")
        for row in rows:
            counted[row.status] = counted.get(row.status, 0) + 1
            writer.write(row)
    written = [file for file in _files(path)[:2] if file.exists()]
    write_json(
        path.with_suffix(".json"),
        {"key": part.key, "rows": counted, "sha256": [sha256_of(file) for file in written]},
    )
    return counted


def counts_of(part: Part) -> Counts | None:
    """The counts of a part that is whole and follows from the same; else None."""
    path = part.path
    if not path.with_suffix(".json").exists():
        return None
    try:
        record = read_json(path.with_suffix(".json"))
        found = [sha256_of(file) for file in _files(path)[:2] if file.exists()]
        return dict(record["rows"]) if (record["key"], record["sha256"]) == (part.key, found) else None
    except (UserError, OSError, KeyError, TypeError, ValueError):
        return None
