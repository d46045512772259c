"""All readable images and what is known of them: data/prepared/manifest.csv with labels.json."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from couplet.project.errors import UserError
from couplet.project.files import RESTORE, read_record, write_csv
from couplet.project.project import HERE, Project
from couplet.results.tables import read_table

TEXT = ("image_id", "part", "patient_id", "study_id", "view", "sex", "age")
PICTURE = "picture"
SHARD_STRIDE = 4096  # positions of a shard's images start at shard * SHARD_STRIDE


@dataclass(frozen=True)
class Manifest:
    """All readable images, sorted by image_id, and what is known of them. N rows, L labels.

    Attributes:
        table: the columns of manifest.csv but the labels, which are `truth`.
        labels: names of the L labels.
        truth: (N, L) float32: 1, 0 or NaN for unknown.
        positions: (N,) where each image stands in the store.
        notes: counts of the data set's own rules.
        group_columns: names of the data set's further columns, for `report.groups`; text.
        members: name -> adapter of the data sets that it is combined of; {} of a single one. The column `source` has
            each image's name.
        project: where it was read.
    """

    table: pd.DataFrame
    labels: list[str]
    truth: np.ndarray
    positions: np.ndarray
    notes: dict[str, int] = field(default_factory=dict)
    project: Project = HERE
    group_columns: tuple[str, ...] = ()
    members: dict[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> np.ndarray:
        """(N,) image ids."""
        return self.table["image_id"].to_numpy()

    @property
    def pictures(self) -> np.ndarray:
        """(N,) text that is the same for images that are stored as the same bytes; empty where the picture is blank."""
        return self.table[PICTURE].to_numpy()

    @cached_property
    def patients(self) -> np.ndarray:
        """(N,) patient of each image; an image without one stands for itself."""
        named = self.table["patient_id"].to_numpy(dtype=str)
        blank = named == ""
        # Text of fixed width is as wide as its longest, and image ids are longer than patients' names.
        return np.where(blank, self.ids.astype(str), named) if blank.any() else named

    def scored(self, unscored: Sequence[str]) -> np.ndarray:
        """(L,) whether a label is in the means over labels: all are but those that inference.unscored names.

        Raises:
            UserError: it names what is no label, or every label.
        """
        for name in unscored:
            if name not in self.labels:
                close = difflib.get_close_matches(name, self.labels, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"the labels are {', '.join(self.labels)}"
                raise UserError(
                    f"{self.project.params}: inference.unscored names {name!r}, which is no label: {hint}"
                )
        found = ~np.isin(self.labels, list(unscored))
        if not found.any():
            raise UserError(
                f"{self.project.params}: inference.unscored names every label: leave one to score"
            )
        return found

    def scored_truth(self, unscored: Sequence[str]) -> np.ndarray:
        """(N, L) the truth that means over labels are of: NaN for the labels that inference.unscored names.

        An unknown label is in no mean and takes no place among an image's highest ones. Raises as `scored`.
        """
        return np.where(self.scored(unscored), self.truth, np.float32("nan"))


def write_manifest(
    folder: Path, table: pd.DataFrame, labels: list[str], group_columns: Sequence[str] = ()
) -> None:
    """Write manifest.csv into `folder`.

    Args:
        folder: of the prepared store.
        table: a row per readable image, sorted by image_id: who and what it shows (TEXT), its original width and
            height in pixels, its shard and row in the store, the digest of its bytes there (`picture`: 16 hex digits,
            empty for a blank picture), its `group_columns`, and a column per label of 1, 0 or NaN.
        labels: names of the L labels.
        group_columns: names of further columns of text.
    """
    columns = [*TEXT, "width", "height", "shard", "row", PICTURE, *group_columns, *labels]
    whole = table[columns].astype(dict.fromkeys(labels, "Int8"))  # 1, 0 or an empty cell
    write_csv(folder / HERE.manifest.name, whole)


def read_manifest(project: Project = HERE) -> Manifest:
    """Read data/prepared/manifest.csv with the labels that labels.json names.

    Raises:
        UserError: a file is missing or damaged, or the two do not fit.
    """
    about = read_record(project.labels, labels=list)
    labels = [str(label) for label in about["labels"]]
    groups = tuple(str(name) for name in about.get("group_columns") or ())
    table = read_table(project.manifest, (*TEXT, PICTURE, *groups), labels=labels)
    needed = ("image_id", "part", "patient_id", "shard", "row", *groups, *labels)
    missing = [name for name in needed if name not in table]
    if missing:
        raise UserError(
            f"{project.manifest} has no column {missing[0]!r}: restore it with `dvc checkout {project.prepared}`"
        )
    if PICTURE not in table:
        raise UserError(
            f"{project.manifest} has no column {PICTURE!r}, as those of earlier versions of couplet: make it again "
            "with `dvc repro`"
        )
    truth = table[labels].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    blank = (table[labels].isna() | (table[labels] == "")).to_numpy()
    wrong = ~blank & ~np.isin(truth, (0, 1))
    if wrong.any():
        row = int(np.argmax(wrong.any(axis=1)))
        raise UserError(f"{project.manifest}, row {row + 2}: a label is not 0, 1 or empty: {RESTORE}")
    positions = store_positions(table, project.manifest)
    members = {str(name): str(source) for name, source in (about.get("members") or {}).items()}
    about_images = table.drop(columns=labels)
    notes = dict(about.get("notes") or {})
    return Manifest(about_images, labels, truth, positions, notes, project, groups, members)


def store_positions(table: pd.DataFrame, path: Path) -> np.ndarray:
    """(N,) int64 of shard * SHARD_STRIDE + row, from a manifest's columns.

    Raises:
        UserError: a cell is no whole number, or far too large for this many images.
    """
    cells = table[["shard", "row"]].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    whole = (cells >= 0) & (cells == np.floor(cells)) & (cells < (max(len(table), 1), SHARD_STRIDE))
    if not whole.all():
        row = int(np.argmin(whole.all(axis=1)))
        raise UserError(f"{path}, row {row + 2}: shard or row is no place in the store: {RESTORE}")
    return (cells @ (SHARD_STRIDE, 1)).astype(np.int64)
