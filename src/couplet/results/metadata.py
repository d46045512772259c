"""What is known of an image beside its pixels, as numbers for a head: age, sex and view (model.metadata)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd

from couplet.project.errors import UserError
from couplet.results.manifest import Manifest
from couplet.results.spellings import Column, common_word

OLDEST = 100  # years, and above
DAYS = {"Y": 365.25, "M": 365.25 / 12, "W": 7.0, "D": 1.0}
NUMBERS = {"sex": {"M": 1.0, "F": 0.0}, "view": {"AP": 1.0, "PA": 0.0}}  # by `spellings.common_word`

_AGE = r"^\s*(?:>=?|≥)?\s*(\d+(?:\.\d*)?)\s*([YMWDymwd]?)\s*(?:\+|or more)?\s*$"


def metadata(manifest: Manifest, names: Sequence[str]) -> np.ndarray:
    """The columns `names` (m of age, sex, view) of every image: (N, m) float32 in [0, 1], NaN for unknown.

    age: `ages_in_years`, at most 100, over 100; sex: M 1, F 0; view: AP 1, PA 0, in all spellings that are known.
    Our own reading of Baltruschat et al. (Sci. Rep. 9, 2019), whose abstract names the three.

    >>> ages_in_hundred_years(["58", "058Y", "007M", "130", "", "old"]).tolist()
    [0.58, 0.58, 0.0, 1.0, nan, nan]
    """
    columns = [_column(manifest.table[name].to_numpy(dtype=str), name) for name in names]
    return np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros((len(manifest.ids), 0), "f4")


def ages_in_hundred_years(cells: Sequence[str] | np.ndarray) -> np.ndarray:
    """(N,) `ages_in_years`, cut to [0, 1]."""
    return np.minimum(ages_in_years(cells), OLDEST) / OLDEST


def ages_in_years(cells: Sequence[str] | np.ndarray) -> np.ndarray:
    """(N,) ages of cells as data sets and DICOM write them; NaN where nobody knows.

    Months, weeks and days are completed years; where ages are cut off, the one at which they are.

    >>> ages_in_years(["58", "058Y", "58.5", "130M", "020D", "85 or more", "90+", ">89", "", "old"]).tolist()
    [58.0, 58.0, 58.5, 10.0, 0.0, 85.0, 90.0, 89.0, nan, nan]
    """
    # A million images have a hundred ages.
    which, words = pd.factorize(pd.Series(cells, dtype=str), use_na_sentinel=False)
    found = pd.Series(words, dtype=str).str.extract(_AGE)
    number = pd.to_numeric(found[0], errors="coerce").to_numpy(np.float64)
    unit = found[1].str.upper()
    completed = np.floor(number * unit.map(DAYS).to_numpy(np.float64) / DAYS["Y"])
    return np.where(unit.isin(["M", "W", "D"]), completed, number)[which]


def known_means(values: np.ndarray, names: Sequence[str], fold: int) -> np.ndarray:
    """(m,) mean of the known cells of the training images' metadata (n, m): what stands for an unknown one.

    Raises:
        UserError: nothing is known of one of them.
    """
    for name, column in zip(names, values.T, strict=True):
        if not np.isfinite(column).any():
            raise UserError(
                f"model.metadata names {name!r}, which no training image of fold {fold} has in a form that is "
                "understood (age in years, sex M or F, view AP or PA): take it out"
            )
    return np.nanmean(values.astype(np.float64), axis=0).astype(np.float32)


def by_position(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rows (N, m) of images as an array (P, m) that their positions (N,) in the store index; NaN elsewhere."""
    found = np.full((int(positions.max(initial=-1)) + 1, values.shape[1]), np.nan, values.dtype)
    found[positions] = values
    return found


def _column(cells: np.ndarray, name: str) -> np.ndarray:
    if name == "age":
        return ages_in_hundred_years(cells)
    numbers, column = NUMBERS[name], cast(Column, name)
    words, code = np.unique(cells, return_inverse=True)
    return np.array([numbers.get(common_word(column, word), np.nan) for word in words], np.float64)[code]
