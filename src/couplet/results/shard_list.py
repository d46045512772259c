"""The files of the packed store, as `prepare` made them: data/prepared/shards.csv.

The list stands for the images wherever it is asked which store somebody was trained on: its digests were taken when
the shards were written, and hashing a hundred gigabytes again for every fold would take minutes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from couplet.project.errors import UserError
from couplet.project.files import write_csv
from couplet.project.project import HERE, Project
from couplet.results.tables import read_table


class StoredFile(NamedTuple):
    """A file of the store: its name in data/prepared, its size in bytes, and its SHA-256."""

    file: str
    size: int
    sha256: str


def write_shard_list(folder: Path, files: Iterable[StoredFile]) -> None:
    """Write shards.csv into `folder`."""
    write_csv(folder / HERE.shards.name, pd.DataFrame(files, columns=list(StoredFile._fields)))


def refuse_other_shards(project: Project = HERE) -> None:
    """Compare the sizes of the store's files with the list; their content is not read.

    Raises:
        UserError: the list is missing or damaged, or a file is missing or has another size.
    """
    table = read_table(project.shards, ("file", "size", "sha256"), StoredFile._fields)
    for name, size in zip(table["file"], table["size"], strict=True):
        path = project.prepared / Path(name).name
        found = str(path.stat().st_size) if path.is_file() else "no"
        if found != size:
            raise UserError(
                f"{path} has {found} bytes, not {size} as {project.shards.name} says: restore it with `dvc checkout "
                f"{project.prepared}`, or make it again with `dvc repro -f prepare`"
            )
