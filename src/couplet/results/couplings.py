"""The couplings of one fold: data/models/fold_k/couplings.csv."""

from __future__ import annotations

import numpy as np
import pandas as pd

from couplet.project.errors import UserError
from couplet.project.files import write_csv
from couplet.project.project import Project
from couplet.results.tables import numbers, read_table


def write_couplings(project: Project, fold: int, labels: list[str], couplings: np.ndarray | None) -> None:
    """Write masked A (L, L), one row per source, one column per target; no rows for None, without a refiner."""
    table = pd.DataFrame(np.zeros((0, len(labels))) if couplings is None else couplings, columns=labels)
    table.insert(0, "source", labels[: len(table)])
    write_csv(project.model(fold) / "couplings.csv", table, float_format="%.8f")


def read_couplings(project: Project, fold: int, labels: list[str]) -> np.ndarray | None:
    """Read masked A (L, L), rows sources, columns targets; None without a refiner.

    Raises:
        UserError: the file is missing or damaged, or has other labels.
    """
    path = project.model(fold) / "couplings.csv"
    table = read_table(path, ("source",))
    if list(table.columns) != ["source", *labels] or list(table["source"]) not in ([], labels):
        raise UserError(f"{path} has other labels than {project.labels}: run `dvc repro`")
    return numbers(table[labels], path) if len(table) else None
