"""Probabilities of images: how they are written, read, and put together from the folds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from couplet.project.errors import UserError
from couplet.project.files import RESTORE, write_csv
from couplet.project.project import HERE
from couplet.results.tables import numbers, read_table

# Tells every float32 from every other. A fixed number of decimals would tie small probabilities, and thereby
# change AUC and mAP: a rare label of an unnormalised db_dgcn stands at 1e-9 and not at 0.
PROBABILITY = "%.9g"


def write_predictions(path: Path, ids: np.ndarray, labels: list[str], probabilities: np.ndarray) -> None:
    """Write image_id and one probability per label, with 9 significant digits.

    Raises:
        UserError: a probability is not finite; nothing is written.
    """
    refuse_not_finite(str(path), ids, labels, probabilities)
    frame = pd.DataFrame(probabilities, columns=labels)
    frame.insert(0, "image_id", ids)
    write_csv(path, frame, float_format=PROBABILITY)


def as_read_back(probabilities: np.ndarray) -> np.ndarray:
    """The values, of any shape, that a reader of the written file gets: 9 significant digits.

    >>> as_read_back(np.array([1 / 3])).tolist()
    [0.333333333]
    """
    written = [float(PROBABILITY % value) for value in probabilities.ravel().tolist()]
    return np.array(written, dtype=np.float64).reshape(probabilities.shape)


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


def read_predictions(
    path: Path, labels: list[str], ids: np.ndarray, given_by: Path = HERE.folds
) -> np.ndarray:
    """Read (n, L) float64 probabilities of exactly these images in this order, which the table `given_by` gives it.

    Raises:
        UserError: the file is missing or damaged, or has other images or labels.
    """
    table = read_table(path)
    if list(table.columns) != ["image_id", *labels]:
        raise UserError(f"{path} has other labels than {HERE.labels}: run `dvc repro`")
    if not np.array_equal(table["image_id"].to_numpy(), ids):
        raise UserError(f"{path} has other images than {given_by} gives it: run `dvc repro`")
    probabilities = numbers(table[labels], path)
    if ((probabilities < 0) | (probabilities > 1)).any():
        raise UserError(f"{path} has cells that are no probabilities: {RESTORE}")
    return probabilities


def gather_folds(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n,) of all images predicted out of fold, ascending, and their probabilities (n, L).

    Args:
        parts: of each fold its rows (n_k,) in the manifest and their probabilities (n_k, L).
    """
    rows, probabilities = (np.concatenate(several) for several in zip(*parts, strict=True))
    order = np.argsort(rows, kind="stable")
    return rows[order], probabilities[order]
