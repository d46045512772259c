"""Prediction sets of the test part (decisions.csv), and what later images need for theirs (conformal.npz)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from couplet.evaluation.sets import NEITHER, ConformalRecord, record_of_arrays
from couplet.project.errors import UserError
from couplet.project.files import RESTORE, write_csv, write_npz
from couplet.project.project import HERE, Project
from couplet.results.tables import numbers, read_table


def write_decisions(path: Path, ids: np.ndarray, labels: list[str], decisions: np.ndarray) -> None:
    """Write image_id and per label 0 absent, 1 present, 2 both or 3 neither.

    Args:
        path: where it is written.
        ids: (m,) of the images.
        labels: L names.
        decisions: (m, L).
    """
    table = pd.DataFrame(decisions, columns=labels)
    table.insert(0, "image_id", ids)
    write_csv(path, table)


def read_decisions(path: Path, labels: list[str], ids: np.ndarray) -> np.ndarray:
    """(m, L) int8 of these images in this order.

    Raises:
        UserError: the file is missing or damaged, or has other images or labels.
    """
    table = read_table(path)
    if list(table.columns) != ["image_id", *labels] or not np.array_equal(table["image_id"].to_numpy(), ids):
        raise UserError(
            f"{path} has other images or labels than {path.with_name('calibrated.csv')}: run `dvc repro`"
        )
    cells = numbers(table[labels], path)
    if not np.isin(cells, range(NEITHER + 1)).all():
        raise UserError(f"{path} has cells that are not 0, 1, 2 or 3: {RESTORE}")
    return cells.astype(np.int8)


def write_conformal(project: Project, record: ConformalRecord) -> None:
    """Write the sorted out-of-fold scores with their cumulative weights."""
    write_npz(project.ensemble / "conformal.npz", record.arrays())


def read_conformal(project: Project, n_labels: int) -> ConformalRecord:
    """The sorted scores of all folds, labels, classes and categories.

    Raises:
        UserError: the file is missing or damaged, or has another number of labels.
    """
    return read_conformal_file(project.ensemble / "conformal.npz", n_labels)


def read_conformal_file(path: Path, n_labels: int) -> ConformalRecord:
    """`read_conformal` of a file anywhere."""
    try:
        with np.load(path, allow_pickle=False) as file:
            record = record_of_arrays({name: file[name] for name in file.files})
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run `dvc repro` (or `dvc checkout`) to make it") from None
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError):
        raise UserError(f"{path} is damaged: restore it with `dvc checkout`") from None
    if record.n_labels != n_labels:
        raise UserError(f"{path} has {record.n_labels} labels, {HERE.labels} {n_labels}: run `dvc repro`")
    return record
