"""The tables that the stages hand on: manifest, labels, folds and predictions, read and checked once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from couplet import paths
from couplet.errors import UserError
from couplet.files import read_json, write_csv

TEXT = ("image_id", "part", "patient_id", "study_id", "view", "sex", "age")
SHARD_STRIDE = 4096  # positions of a shard's images start at shard * SHARD_STRIDE


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


def read_table(path: Path, text: tuple[str, ...] = ("image_id",)) -> pd.DataFrame:
    """Read one of our own CSV files; the columns in `text` stay text, also where they look like numbers.

    Raises:
        UserError: the file is missing, empty or not a table.
    """
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values={})
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run `dvc repro` (or `dvc checkout`) to make it") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} is damaged ({reason}): restore it with `dvc checkout`") from None
    return frame


def read_manifest() -> Manifest:
    """Read data/prepared/manifest.csv with the labels that labels.json names.

    Raises:
        UserError: a file is missing or damaged, or the two do not fit.
    """
    labels = [str(label) for label in read_json(paths.LABELS)["labels"]]
    table = read_table(paths.MANIFEST, TEXT)
    missing = [
        name for name in ("image_id", "part", "patient_id", "shard", "row", *labels) if name not in table
    ]
    if missing:
        raise UserError(
            f"{paths.MANIFEST} has no column {missing[0]!r}: restore it with `dvc checkout {paths.PREPARED}`"
        )
    truth = table[labels].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)
    positions = table["shard"].to_numpy(np.int64) * SHARD_STRIDE + table["row"].to_numpy(np.int64)
    return Manifest(table, labels, truth, positions)


def read_folds(manifest: Manifest, path: Path = paths.FOLDS) -> np.ndarray:
    """(N,) text in the manifest's order: a fold's number, `test`, or `train` (with split.holdout).

    Raises:
        UserError: the table is missing or lists other images than the manifest.
    """
    table = read_table(path, ("image_id", "fold"))
    if not np.array_equal(table["image_id"].to_numpy(), manifest.ids):
        raise UserError(f"{path} lists other images than {paths.MANIFEST}: run `dvc repro split_mis`")
    return table["fold"].to_numpy()


def write_predictions(path: Path, ids: np.ndarray, labels: list[str], probabilities: np.ndarray) -> None:
    """Write image_id and one probability per label, 6 decimals.

    Raises:
        UserError: a probability is not finite; nothing is written.
    """
    broken = ~np.isfinite(probabilities)
    if broken.any():
        row, column = np.argwhere(broken)[0]
        raise UserError(
            f"{broken.sum()} of {broken.size} probabilities are not finite (first: image {ids[row]}, label "
            f"{labels[column]}): the model is damaged or diverged; {path} was not written"
        )
    frame = pd.DataFrame(probabilities, columns=labels)
    frame.insert(0, "image_id", ids)
    write_csv(path, frame, float_format="%.6f")


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
    try:
        probabilities = table[labels].to_numpy(np.float64)
    except ValueError:
        probabilities = np.full((len(ids), len(labels)), np.nan)
    if not np.isfinite(probabilities).all():
        raise UserError(f"{path} has cells that are not numbers: restore it with `dvc checkout`")
    return probabilities
