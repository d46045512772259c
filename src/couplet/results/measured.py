"""metrics/systems.csv: what runs of the presets scored, written by `couplet table --write` and read by the report."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from couplet.evaluation.estimate import Estimate
from couplet.project.errors import UserError
from couplet.project.files import write_csv
from couplet.project.project import HERE, Project
from couplet.results.manifest import Manifest
from couplet.results.tables import read_table

METHOD = "patient jackknife"
AGAIN = "restore it from git, or remove it and write it again with `couplet table NAMES --write`"


@dataclass(frozen=True)
class Measured:
    """The scores of one system, on one part of one data set.

    Attributes:
        system: its preset.
        experiments: names of its runs: repeats of one another.
        source: data.source.
        data: `data_key`: rows that share it, and the part, are of the same images, labels and folds.
        part: oof (out of fold) or test (the ensemble on the test part).
        own_test: whether the data set brought this test part along; false out of fold.
        images, patients: of that part.
        auc_macro, map: each with its interval, or the reason why it has none.
        backbone: with what is not the preset's about it.
        size, epochs: of what the network sees, and of its training.
        head: what makes logits of features.
        levels: networks trained one after the other (model.levels), the first included; 1: one network.
        levels_kind: model.levels.kind: single, cascade or ag_cnn.
        loss, refiner: refiner is off, joint or out_of_fold.
        changed: settings that are not the preset's.
    """

    system: str
    experiments: tuple[str, ...]
    source: str
    data: str
    part: str
    own_test: bool
    images: int
    patients: int
    auc_macro: Estimate
    map: Estimate
    backbone: str
    size: int
    epochs: int
    head: str
    levels: int
    levels_kind: str
    loss: str
    refiner: str
    changed: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """What a later measurement of the same replaces."""
        return self.source, self.data, self.part, self.system, *self.experiments

    @property
    def head_and_levels(self) -> str:
        """The head, and how many networks there are of it where it is a chain."""
        return head_and_levels(self.head, self.levels, self.levels_kind)


def head_and_levels(head: str, levels: int, kind: str) -> str:
    """A head with its levels, of which the first alone is not mentioned.

    >>> head_and_levels("linear", 6, "cascade")
    'linear, 6 levels (cascade)'
    >>> head_and_levels("linear", 1, "single")
    'linear'
    """
    return head if levels == 1 else f"{head}, {levels} levels ({kind})"


SCORES = ("auc_macro", "map")
COLUMNS = [
    column
    for field in fields(Measured)
    for column in (
        (field.name, f"{field.name}_low", f"{field.name}_high", f"{field.name}_reason")
        if field.name in SCORES
        else (field.name,)
    )
]


def data_key(manifest: Manifest, fold_of: np.ndarray) -> str:
    """What makes runs comparable image by image: the images, their labels, patients and folds (N,), as 8 digits."""
    text = [*manifest.labels, *manifest.ids, *manifest.table["patient_id"], *fold_of]
    digest = hashlib.md5("\n".join(map(str, text)).encode(), usedforsecurity=False)
    digest.update(np.ascontiguousarray(manifest.truth, np.float32).tobytes())
    return digest.hexdigest()[:8]


def write_measured(rows: list[Measured], project: Project = HERE) -> None:
    """Write the rows, sorted by data set, part and preset; scores have 6 decimals, of which pages show 4 at most."""
    table = [_cells(row) for row in sorted(rows, key=lambda row: row.key)]
    write_csv(project.systems, pd.DataFrame(table, columns=COLUMNS))


def read_measured(project: Project = HERE) -> list[Measured]:
    """The rows; none where there is no such file.

    Raises:
        UserError: a column is missing, or a cell is not what it should be.
    """
    path = project.systems
    if not path.exists():
        return []
    table = read_table(path, text=tuple(COLUMNS), required=tuple(COLUMNS))
    rows = []
    for number, cells in enumerate(table.to_dict("records"), start=2):
        try:
            rows.append(_row({str(name): str(cell) for name, cell in cells.items()}))
        except ValueError as error:
            raise UserError(f"{path} line {number}: {error}: {AGAIN}") from None
    return rows


def _cells(row: Measured) -> dict[str, Any]:
    cells = asdict(row) | {"own_test": str(row.own_test).lower()}
    cells |= {name: " ".join(cells[name]) for name in ("experiments", "changed")}
    for name in SCORES:
        score: Estimate = getattr(row, name)
        ends = {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}
        cells |= {key: "" if value is None else f"{value:.6f}" for key, value in ends.items()}
        cells[f"{name}_reason"] = score.reason
    return cells


def _row(cells: dict[str, str]) -> Measured:
    if cells["own_test"] not in ("true", "false") or cells["part"] not in ("oof", "test"):
        raise ValueError("own_test must be true or false, part oof or test")
    known: dict[str, Any] = dict(cells)
    known["own_test"] = cells["own_test"] == "true"
    known |= {name: tuple(cells[name].split()) for name in ("experiments", "changed")}
    known |= {name: int(cells[name]) for name in ("images", "patients", "size", "epochs", "levels")}
    known |= {name: _estimate(name, cells, known) for name in SCORES}
    return Measured(**{field.name: known[field.name] for field in fields(Measured)})


def _estimate(name: str, cells: dict[str, str], known: dict[str, Any]) -> Estimate:
    value, low, high = (float(cell) if (cell := cells[name + end]) else None for end in ("", "_low", "_high"))
    return Estimate(
        value,
        low,
        high,
        reason=cells[f"{name}_reason"],
        method=METHOD,
        n_images=known["images"],
        n_patients=known["patients"],
        flags=("selected",) if cells["part"] == "oof" else (),
    )
