"""The external test: a data set that nothing is trained or chosen on, its labels by the run's names.

What it does not know is unknown, and so is what its labels cannot say of ours (`couplet.datasets.label_maps`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas import DataFrame

from couplet.datasets.base import META, Dataset
from couplet.datasets.derived import what_is_shared
from couplet.datasets.label_maps import LabelMap, map_to_ours
from couplet.datasets.registry import read_member
from couplet.datasets.tables import hidden_rows
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.schema.external import ExternalParams
from couplet.settings.source_args import keys_below

KEY = "data.external"
HIDDEN = "images_without_published_labels_left_out"


@dataclass(frozen=True)
class ExternalSet:
    """An external test as it was read.

    Attributes:
        dataset: labels are the run's, all of them, as 1, 0 or NaN; every image is in the part `test`.
        map: which of the run's labels is which of its columns.
        same_ids: pairs of prefixes (the run's, its own) of patient ids that are of one archive. Behind them equal ids
            are one person; any others are equal by chance.
        made_of: why people may be in training under other names, in words.
    """

    dataset: Dataset
    map: LabelMap
    same_ids: list[tuple[str, str]]
    made_of: list[str]


def read_external(settings: ExternalParams, raw: Path, run: Dataset, run_source: str) -> ExternalSet:
    """Read the external test of a run on the data set `run`.

    Raises:
        UserError: a setting, the folder, a file, row or cell is wrong, or no label is shared.
    """
    with keys_below(KEY):
        dataset = read_member(settings.source, raw, settings.source_args, True)
        table = dataset.known(settings.uncertain, settings.unmentioned)
    found = map_to_ours(
        settings.source,
        dataset.labels,
        run.labels,
        run_source,
        settings.label_map or None,
        f"{KEY}.label_map",
    )
    hidden, notes = hidden_rows(dataset.table, dataset.labels), dict(dataset.notes)
    if hidden.any():
        notes[HIDDEN] = int(hidden.sum())
    kept = ~hidden
    if settings.part == "test":
        kept &= (table["part"] == "test").to_numpy()
    if not kept.any():
        part = "test part has no image" if settings.part == "test" else "no image has"
        raise UserError(
            f"{KEY}: {settings.source}: {part} with published labels: set {KEY}.part to all, or another source"
        )
    if clash := [name for name in dataset.group_columns if name in run.labels]:
        raise UserError(
            f"{KEY}: {clash[0]!r} is a group column of it and a label of this run: rename one of them"
        )
    images = _images(table[kept], dataset.group_columns, found, run.labels)
    _say(settings.source, images, found, dataset.labels, run.labels)
    theirs, ours = _sources(settings.source, dataset.members), _sources(run_source, run.members)
    made_of = {what_is_shared(one, other): None for one in theirs.values() for other in ours.values()}
    for line in filter(None, made_of):
        say(f"warning: external: {line}")
    return ExternalSet(
        Dataset(
            list(run.labels),
            images,
            notes=notes,
            group_columns=dataset.group_columns,
            members=dataset.members,
            external=True,
        ),
        found,
        [(our, their) for our, a in ours.items() for their, b in theirs.items() if a == b],
        [line for line in made_of if line],
    )


def no_external(run: Dataset) -> Dataset:
    """The table of a run without an external test: no image, and the run's labels."""
    columns = {name: pd.Series(dtype=object) for name in META} | {
        name: pd.Series(dtype="float64") for name in run.labels
    }
    return Dataset(list(run.labels), DataFrame(columns), external=True)


def _images(table: DataFrame, groups: Sequence[str], found: LabelMap, labels: Sequence[str]) -> DataFrame:
    parts = [table[list(META)].assign(part="test"), table[list(groups)], found.values(table, labels)]
    return pd.concat(parts, axis=1)


def _sources(source: str, members: Mapping[str, str]) -> dict[str, str]:
    """Prefix of patient ids -> the adapter that they are of."""
    return {f"{name}/": of for name, of in members.items()} or {"": source}


def _say(source: str, images: DataFrame, found: LabelMap, theirs: Sequence[str], ours: Sequence[str]) -> None:
    say(f"external: {source}: {len(images):,} images, {len(found.columns)} of {len(ours)} labels")
    for label in found.approximate:
        say(f"external: {label} is {' or '.join(found.columns[label])}, which is only approximate")
    if left := [label for label in ours if label not in found.columns]:
        say(f"external: labels that it does not know: {', '.join(left)}")
    used = {name for names in found.columns.values() for name in names}
    if left := [name for name in theirs if name not in used]:
        say(f"external: labels of it that are not used: {', '.join(left)}")


def record(settings: ExternalParams, found: ExternalSet | None) -> dict[str, Any]:
    """What labels.json says of it, beside what it says of every store."""
    about: dict[str, Any] = {"settings": settings.model_dump()}
    if found is not None:
        about |= {
            "label_map": {label: list(columns) for label, columns in found.map.columns.items()},
            "approximate": list(found.map.approximate),
            "same_ids": [list(pair) for pair in found.same_ids],
            "made_of": found.made_of,
        }
    return about
