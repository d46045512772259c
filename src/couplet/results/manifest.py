"""The tables that the stages hand on: manifest, labels, folds and predictions, read and checked once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from couplet.project import paths
from couplet.project.errors import UserError
from couplet.project.files import RESTORE, read_record, write_csv

TEXT = ("image_id", "part", "patient_id", "study_id", "view", "sex", "age")
SHARD_STRIDE = 4096  # positions of a shard's images start at shard * SHARD_STRIDE
# Tells every float32 from every other. A fixed number of decimals would tie small probabilities, and thereby
# change AUC and mAP: a rare label of an unnormalised db_dgcn stands at 1e-9 and not at 0.
PROBABILITY = "%.9g"


@dataclass(frozen=True)
class Manifest:
    """All readable images, sorted by image_id, and what is known of them. N rows, L labels.

    Attributes:
        table: the columns of manifest.csv.
        labels: names of the L labels.
        truth: (N, L) float32: 1, 0 or NaN for unknown.
        positions: (N,) where each image stands in the store.
    """

    table: pd.DataFrame
    labels: list[str]
    truth: np.ndarray
    positions: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """(N,) image ids."""
        return self.table["image_id"].to_numpy()


def read_table(
    path: Path, text: tuple[str, ...] = ("image_id",), required: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Read one of our own CSV files; the columns in `text` stay text, also where they look like numbers.

    Raises:
        UserError: the file is missing, empty or not a table, or lacks a `required` column.
    """
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values={})
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run `dvc repro` (or `dvc checkout`) to make it") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} is damaged ({reason}): restore it with `dvc checkout`") from None
    for name in required:
        if name not in frame:
            raise UserError(f"{path} has no column {name!r}: {RESTORE}")
    return frame


def read_manifest() -> Manifest:
    """Read data/prepared/manifest.csv with the labels that labels.json names.

    Raises:
        UserError: a file is missing or damaged, or the two do not fit.
    """
    labels = [str(label) for label in read_record(paths.LABELS, labels=list)["labels"]]
    table = read_table(paths.MANIFEST, TEXT)
    missing = [
        name for name in ("image_id", "part", "patient_id", "shard", "row", *labels) if name not in table
    ]
    if missing:
        raise UserError(
            f"{paths.MANIFEST} has no column {missing[0]!r}: restore it with `dvc checkout {paths.PREPARED}`"
        )
    truth = table[labels].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    wrong = (table[labels] != "").to_numpy() & ~np.isin(truth, (0, 1))
    if wrong.any():
        row = int(np.argmax(wrong.any(axis=1)))
        raise UserError(f"{paths.MANIFEST}, row {row + 2}: a label is not 0, 1 or empty: {RESTORE}")
    return Manifest(table, labels, truth, store_positions(table, paths.MANIFEST))


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


def read_folds(manifest: Manifest, path: Path = paths.FOLDS) -> np.ndarray:
    """(N,) text in the manifest's order: a fold's number, `test`, or `train` (with split.holdout).

    Raises:
        UserError: the table is missing or lists other images than the manifest.
    """
    table = read_table(path, ("image_id", "fold"), ("image_id", "fold"))
    odd = table.index[~table["fold"].str.fullmatch(r"\d+|test|train").to_numpy(bool)]
    if len(odd):
        raise UserError(
            f"{path}, row {odd[0] + 2}: fold {table['fold'][odd[0]]!r} is no number, test or train: run "
            "`dvc repro split_mis`"
        )
    if not np.array_equal(table["image_id"].to_numpy(), manifest.ids):
        raise UserError(f"{path} lists other images than {paths.MANIFEST}: run `dvc repro split_mis`")
    return table["fold"].to_numpy()


def write_predictions(path: Path, ids: np.ndarray, labels: list[str], probabilities: np.ndarray) -> None:
    """Write image_id and one probability per label, with 9 significant digits.

    Raises:
        UserError: a probability is not finite; nothing is written.
    """
    refuse_not_finite(str(path), ids, labels, probabilities)
    frame = pd.DataFrame(probabilities, columns=labels)
    frame.insert(0, "image_id", ids)
    write_csv(path, frame, float_format=PROBABILITY)


def refuse_not_finite(origin: str, ids: np.ndarray, labels: list[str], probabilities: np.ndarray) -> None:
    """Raise a UserError that counts what is not finite among (n, L) probabilities, if anything is."""
    broken = ~np.isfinite(probabilities)
    if broken.any():
        row, column = np.argwhere(broken)[0]
        raise UserError(
            f"{origin}: {broken.sum()} of {broken.size} probabilities are not finite (first: image {ids[row]}, "
            f"label {labels[column]}): the model is damaged or diverged, so nothing was written: restore it with "
            "`dvc checkout`, or train again with a lower optimizer.lr"
        )


def read_predictions(path: Path, labels: list[str], ids: np.ndarray) -> np.ndarray:
    """Read (n, L) float64 probabilities of exactly these images in this order.

    Raises:
        UserError: the file is missing or damaged, or has other images or labels.
    """
    table = read_table(path)
    if list(table.columns) != ["image_id", *labels]:
        raise UserError(f"{path} has other labels than {paths.LABELS}: run `dvc repro`")
    if not np.array_equal(table["image_id"].to_numpy(), ids):
        raise UserError(f"{path} has other images than {paths.FOLDS} gives it: run `dvc repro`")
    probabilities = numbers(table[labels], path)
    if ((probabilities < 0) | (probabilities > 1)).any():
        raise UserError(f"{path} has cells that are no probabilities: {RESTORE}")
    return probabilities


def numbers(table: pd.DataFrame, path: Path) -> np.ndarray:
    """The cells of a table as float64.

    Raises:
        UserError: one of them is not a finite number.
    """
    cells = table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(cells).all():
        raise UserError(f"{path} has cells that are not numbers: {RESTORE}")
    return cells
