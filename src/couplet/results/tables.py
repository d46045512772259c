"""Reading our own CSV files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from couplet.project.errors import UserError
from couplet.project.files import RESTORE


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


def numbers(table: pd.DataFrame, path: Path) -> np.ndarray:
    """The cells of a table as float64.

    Raises:
        UserError: one of them is not a finite number.
    """
    cells = table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(cells).all():
        raise UserError(f"{path} has cells that are not numbers: {RESTORE}")
    return cells
