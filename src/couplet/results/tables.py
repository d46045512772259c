"""Reading our own CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from couplet.project.errors import UserError
from couplet.project.files import RESTORE


def read_table(
    path: Path,
    text: tuple[str, ...] = ("image_id",),
    required: tuple[str, ...] = (),
    labels: Sequence[str] = (),
) -> pd.DataFrame:
    """Read one of our own CSV files.

    Args:
        path: the file.
        text: columns that stay text, also where they look like numbers.
        required: columns that must be there.
        labels: columns of 0, 1 or nothing: float32, NaN where unknown. They are text if any cell is no number.

    Any other column is numbers if all of its cells are, however long it is, and text if one is not, an empty one too.

    Raises:
        UserError: the file is missing, empty or not a table, or lacks a `required` column.
    """
    kinds = dict.fromkeys(text, "str") | dict.fromkeys(labels, "float32")
    try:
        # In one piece: in several, one empty cell in a later one makes a column of numbers and text.
        frame = pd.read_csv(
            path,
            dtype=kinds,
            keep_default_na=False,
            na_values={name: [""] for name in labels},
            low_memory=False,
        )
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run `dvc repro` (or `dvc checkout`) to make it") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} is damaged ({reason}): restore it with `dvc checkout`") from None
    except ValueError:
        if not labels:
            raise
        return read_table(path, (*text, *labels), required)
    for name in required:
        if name not in frame:
            raise UserError(f"{path} has no column {name!r}: {RESTORE}")
    return frame


def numbers(table: pd.DataFrame, path: Path) -> np.ndarray:
    """The cells of a table as float64.

    Raises:
        UserError: one of them is not a finite number.
    """
    cells = table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(cells).all():
        raise UserError(f"{path} has cells that are not numbers: {RESTORE}")
    return cells
