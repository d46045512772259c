"""The fold of every image: data/splits/folds.csv."""

from __future__ import annotations

import numpy as np
import pandas as pd

from couplet.project.errors import UserError
from couplet.project.files import write_csv
from couplet.results.manifest import Manifest
from couplet.results.tables import read_table


def write_folds(manifest: Manifest, fold: np.ndarray) -> None:
    """Write the (N,) text that `read_folds` gives."""
    write_csv(manifest.project.folds, pd.DataFrame({"image_id": manifest.ids, "fold": fold}))


def read_folds(manifest: Manifest) -> np.ndarray:
    """(N,) text in the manifest's order: a fold's number, `test`, or `train` (with split.holdout).

    Raises:
        UserError: the table is missing or lists other images than the manifest.
    """
    path = manifest.project.folds
    table = read_table(path, ("image_id", "fold"), ("image_id", "fold"))
    odd = table.index[~table["fold"].str.fullmatch(r"\d+|test|train").to_numpy(bool)]
    if len(odd):
        raise UserError(
            f"{path}, row {odd[0] + 2}: fold {table['fold'][odd[0]]!r} is no number, test or train: run "
            "`dvc repro split_mis`"
        )
    if not np.array_equal(table["image_id"].to_numpy(), manifest.ids):
        raise UserError(
            f"{path} lists other images than {manifest.project.manifest}: run `dvc repro split_mis`"
        )
    return table["fold"].to_numpy()
