"""Several data sets as one: each in data/raw/combined/<name>, a folder or a link to one, with settings of its own.

Their labels are united or intersected by label maps (`couplet.datasets.label_maps`); what a set does not know is
unknown. Sexes and views become the same words. Image, patient and study ids begin with the member's name, which is also
the group column `source`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from couplet.datasets.base import META, Dataset
from couplet.datasets.derived import what_is_shared
from couplet.datasets.label_maps import LabelMap, label_map
from couplet.datasets.tables import hidden_rows, resolve_unknown
from couplet.datasets.words import in_common_words
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.source_args import keys_below
from couplet.settings.sources.combined import KEY, Settings, member_settings

GROUP = "source"


@dataclass(frozen=True)
class _Read:
    """A member as it was read.

    Attributes:
        name: in settings, and of its folder.
        source: which adapter read it.
        table: as `Dataset.table`, but labels are 1, 0 or NaN, and images are in the part that they shall be in.
        labels: its own label columns.
        groups: its own group columns.
        notes: counts.
        map: which label is which of its columns.
    """

    name: str
    source: str
    table: DataFrame
    labels: list[str]
    groups: list[str]
    notes: dict[str, int]
    map: LabelMap


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read every member by its own adapter, and put their tables one below the other."""
    members = [_member(folder, name, settings, check_files) for name, settings in args.members.items()]
    labels = _labels(members, args.labels)
    for member in members:
        _say_member(member, labels)
    _say_what_is_shared(folder, members, labels)
    groups = list(dict.fromkeys(name for member in members for name in member.groups))
    if clash := [name for name in groups if name in labels]:
        raise UserError(
            f"{clash[0]!r} is a group column of one member and a label of another: rename one of them"
        )
    notes: dict[str, int] = {}
    for member in members:
        for name, count in member.notes.items():
            notes[name] = notes.get(name, 0) + count
    sources = {member.name: member.source for member in members}
    tables = []
    while members:  # a member's own table is freed when its rows are rewritten
        tables.append(_images(members.pop(0), groups, labels))
    table = pd.concat(tables, ignore_index=True)
    return Dataset(labels, table, notes=notes, group_columns=[GROUP, *groups], members=sources)


def _member(folder: Path, name: str, given: dict[str, Any], check_files: bool) -> _Read:
    from couplet.datasets.registry import read_member  # late: the registry lists this adapter too

    place, settings = f"{KEY}.{name}", member_settings(name, given)
    source = settings.source
    with keys_below(place):
        dataset = read_member(source, folder / name, settings.source_args, check_files)
        resolved = resolve_unknown(dataset.table, dataset.labels, settings.uncertain, settings.unmentioned)
    found = label_map(source, dataset.labels, settings.label_map, f"{place}.label_map")
    notes = dict(dataset.notes)
    if settings.part != "keep":
        hidden = hidden_rows(dataset.table, dataset.labels)
        if settings.part == "train" and hidden.any():
            resolved = resolved[~hidden]
            notes["test_images_without_labels_left_out"] = int(hidden.sum())
        resolved = resolved.assign(part=settings.part)
    elif dataset.submission_id:
        say(
            f"combined: {name}: submission.csv has the ids and labels of the combined set, not its own format"
        )
    return _Read(name, source, resolved, dataset.labels, dataset.group_columns, notes, found)


def _labels(members: list[_Read], how: str) -> list[str]:
    """The labels, in the order of the members and of their maps.

    Raises:
        UserError: no label is in every member.
    """
    labels = list(dict.fromkeys(label for member in members for label in member.map.brought))
    if how == "union":
        return labels
    common = [label for label in labels if all(label in member.map.columns for member in members)]
    if not common:
        names = "; ".join(f"{member.name}: {', '.join(member.map.columns)}" for member in members)
        raise UserError(
            f"no label is in every member ({names}): set {KEY}.<name>.label_map, or labels: union"
        )
    return common


def _images(member: _Read, groups: list[str], labels: list[str]) -> DataFrame:
    """The member's rows as they stand in the table of all."""
    table, prefix = member.table, f"{member.name}/"
    images = table[list(META)].assign(
        image_id=prefix + table["image_id"],
        patient_id=_prefixed(prefix, table["patient_id"]),
        study_id=_prefixed(prefix, table["study_id"]),
        path=prefix + table["path"],
    )
    images = in_common_words(images, f"combined: {member.name}")
    images[GROUP] = member.name
    for name in groups:
        images[name] = table[name] if name in member.groups else ""
    # 1, 0 and NaN in half of float64's memory: these columns and those of all rows are there at once.
    return pd.concat([images, member.map.values(table, labels).astype("float32")], axis=1)


def _prefixed(prefix: str, column: Series) -> Series:
    """The names of a column, which many rows share, behind the member's own; what is empty stays empty."""
    code, names = pd.factorize(column.to_numpy(), use_na_sentinel=False)
    whole = np.array([prefix + name if name else "" for name in names], dtype=object)
    return Series(whole[code], index=column.index, dtype=str)


def _say_member(member: _Read, labels: list[str]) -> None:
    table, columns = member.table, member.map.columns
    known = [label for label in labels if label in columns]
    counts = ", ".join(f"{int((table['part'] == part).sum()):,} {part}" for part in ("train", "test"))
    say(f"combined: {member.name} ({member.source}): {counts} images, {len(known)} of {len(labels)} labels")
    for label in known:
        if label in member.map.approximate:
            say(
                f"combined: {member.name}: {label} is {' or '.join(columns[label])}, which is only approximate"
            )
    used = {name for label in known for name in columns[label]}
    if left := [name for name in member.labels if name not in used]:
        say(f"combined: {member.name}: labels that are not used: {', '.join(left)}")


def _say_what_is_shared(folder: Path, members: list[_Read], labels: list[str]) -> None:
    """Say which folders are no members, which members share images and which labels may be one under two names."""
    names = [member.name for member in members]
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if left := [name for name in found if name not in names]:
        say(f"combined: folders that are no members and are not read: {', '.join(left)}")
    for i, member in enumerate(members):
        for another in members[i + 1 :]:
            if shared := what_is_shared(member.source, another.source, member.name, another.name):
                say(f"warning: {shared}; use one of them")
    plain: dict[str, str] = {}
    for label in labels:
        other = plain.setdefault(re.sub(r"[\s_-]", "", label.casefold()), label)
        if other != label:
            say(f"warning: {other!r} and {label!r} are two labels: make them one by {KEY}.<name>.label_map")
