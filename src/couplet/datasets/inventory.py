"""The raw-data inventory: which files a data set consists of, with size and md5.

Raw images are neither dependency nor output of DVC; `data/inventory.json` stands for them. It holds a digest
over the detailed list, which stays beside the raw folder. `couplet scan` writes both, `prepare` checks with
them what it reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import starmap
from pathlib import Path
from typing import Any

import pandas as pd
from pandas import DataFrame, Series

from couplet.datasets.folder import IMAGE_ENDINGS, OF_MEMBERS, require_folder, walk, walk_members
from couplet.datasets.hashing import size_and_md5, sizes_and_md5s
from couplet.datasets.names import check_names, is_formula
from couplet.datasets.raw_folder import raw_folder
from couplet.project.console import progress, say
from couplet.project.errors import UserError
from couplet.project.files import refuse_conflict, write_csv, write_json
from couplet.project.project import HERE, Project
from couplet.settings.schema.external import ExternalParams

COLUMNS = ["path", "size", "md5"]
_KINDS: dict[str, Any] = {"path": str, "size": "int64", "md5": str}
# What an adapter may read by any name; lists that end in .txt have names of their own.
_READ_ENDINGS = (*IMAGE_ENDINGS, ".csv", ".csv.gz", ".json", ".xml")
RESCAN = "run `couplet scan`"
EXTERNAL = "external"  # the key of data/inventory.json under which the external test's files are


@dataclass(frozen=True)
class Inventory:
    """Every regular file of a raw folder that is not hidden.

    Notes and the like whose names would be formulas in a spreadsheet are left out as well: no table names them.

    Attributes:
        source: the data set, as data.source names it.
        files: path (posix, relative to the raw folder, sorted), size in bytes, md5.
        folder: its name in data/raw; empty: that of its source.
    """

    source: str
    files: DataFrame
    folder: str = ""

    @property
    def name(self) -> str:
        """The name of its folder in data/raw."""
        return self.folder or self.source

    @cached_property
    def digest(self) -> str:
        r"""sha256 over "path\0size\0md5\n" of every file in order."""
        rows = self.files[COLUMNS].itertuples(index=False, name=None)
        lines = starmap("{}\0{}\0{}\n".format, rows)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def summary(self) -> dict[str, Any]:
        """The content of data/inventory.json."""
        size = int(self.files["size"].sum())
        return {"source": self.source, "files": len(self.files), "bytes": size, "digest": self.digest}

    def save(self, project: Project = HERE, external: Inventory | None = None) -> None:
        """Write the detailed list beside the raw folder, then data/inventory.json, that of an external test in it."""
        self._save_list(project)
        content = self.summary
        if external is not None:
            external._save_list(project)
            content[EXTERNAL] = {"folder": external.name} | external.summary
        write_json(project.inventory, content)

    def _save_list(self, project: Project) -> None:
        target = project.inventory_list(self.name)
        try:
            write_csv(target, self.files[COLUMNS])
        except OSError as error:
            say(f"{target} cannot be written ({error.strerror}): the next run will hash the data again")

    def md5_of(self, path: str) -> str:
        """The md5 of a file, by its path relative to the raw folder.

        Raises:
            UserError: the inventory does not have it.
        """
        try:
            return self._md5[path]
        except KeyError:
            raise UserError(f"{path} is not in {HERE.inventory} ({self.source}): {RESCAN}") from None

    @cached_property
    def _md5(self) -> dict[str, str]:
        return dict(zip(self.files["path"], self.files["md5"], strict=True))

    def check(self, folder: Path) -> None:
        """Compare paths and sizes in `folder` with this inventory, and the content of the label tables.

        Images are not opened: whoever decodes one compares its bytes with `md5_of`.

        Raises:
            UserError: a file changed, is gone or is new; the first is named.
        """
        sizes = dict(zip(self.files["path"], self.files["size"], strict=True))
        changed = {}
        for path, entry in _files(self.source, folder):
            size, listed = entry.stat().st_size, sizes.pop(path, None)
            if size != listed:
                changed[path] = "is new" if listed is None else f"has {size} bytes, not {listed}"
        changed |= dict.fromkeys(sizes, "is gone")
        if changed:
            path = min(changed)
            more = f" (and {len(changed) - 1} more files differ)" if len(changed) > 1 else ""
            raise UserError(
                f"{folder / path} {changed[path]} since {HERE.inventory} was written{more}: {RESCAN}"
            )
        for path in filter(_is_table, self.files["path"]):
            if size_and_md5(folder / path)[1] != self.md5_of(path):
                raise UserError(f"{folder / path} has changed since {HERE.inventory} was written: {RESCAN}")


def scan(source: str, folder: Path, workers: int | None = None, name: str = "") -> Inventory:
    """Hash every file of `folder`, with `workers` threads (default: two per core, at most 16).

    `name` is the folder's in data/raw, if it is not that of its source.

    Raises:
        UserError: no file is there, one cannot be read or has an impossible name, a link leaves the folder.
    """
    names = sorted(path for path, _ in _files(source, folder))
    if not names:
        raise UserError(f"{folder} holds no files: put the data there, docs/datasets.md shows the layout")
    # People open the list, and it names what no label table does.
    check_names(Series(names, dtype=str), lambda _: f"{folder}: file name")
    hashed = progress(sizes_and_md5s(folder, names, workers), f"hashing {source}", len(names))
    rows = [(name, *result) for name, result in zip(names, hashed, strict=True)]
    return Inventory(source, DataFrame(rows, columns=COLUMNS), name)


def load_inventory(source: str, folder: Path, project: Project = HERE, external: str = "") -> Inventory:
    """The inventory that data/inventory.json stands for, or with the name of its folder that of the external test.

    The detailed list is read where it is there and its digest is that of the JSON; otherwise (a fresh
    machine, a list of another commit) the folder is hashed again and must give that digest.

    Raises:
        UserError: the JSON is missing or not valid, is about another source, or the folder holds other files.
    """
    expected = _read_summary(source, project, external)
    list_path = project.inventory_list(external or source)
    if (
        list_path.exists()
        and (listed := _read_list(source, list_path, external))
        and listed.summary == expected
    ):
        return listed
    require_folder(source, folder)
    say(f"{list_path.name} is missing or of another state: hashing {folder} to compare")
    found = scan(source, folder, name=external)
    if found.summary != expected:
        here, there = found.summary, expected
        raise UserError(
            f"{folder} is not as in {project.inventory} ({here['files']} files, {here['bytes']} bytes, "
            f"not {there['files']} and {there['bytes']}): restore the data, or {RESCAN} to take it as it is"
        )
    found._save_list(project)
    return found


def scan_source(
    source: str,
    project: Project = HERE,
    source_args: dict[str, Any] | None = None,
    external: ExternalParams | None = None,
) -> Inventory:
    """Hash the raw folder of `data.source`, and that of the external test, and write their inventory."""
    raw, other = raw_folder(source, project, source_args), None
    if external is not None and external.given:
        place = raw_folder(external.source, project, external.source_args, external.raw)
        other = scan(external.source, place, name=external.raw)
    inventory = scan(source, raw)
    inventory.save(project, other)
    for found in [inventory, *([other] if other else [])]:
        summary = found.summary
        say(f"{project.inventory}: {found.name}, {summary['files']} files, {summary['bytes'] / 1e6:.1f} MB")
    return inventory


def _files(source: str, folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    of_members = source in OF_MEMBERS
    for path, entry in walk_members(folder) if of_members else walk(folder):
        if entry is None:
            member = path.partition("/")[0] if "/" in path else "<name>"
            whole = folder / member if of_members else folder
            raise UserError(
                f"{folder / path} is a link that leaves the data folder: link the whole data set as {whole}"
            )
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", path):
            raise UserError(
                f"{folder}: the file name {path!r} holds control characters or is not UTF-8: rename it"
            )
        # An image or a table of such a name is refused by `scan`: people open the list.
        if is_formula(path) and not path.lower().endswith(_READ_ENDINGS):
            continue
        yield path, entry


def _is_table(path: str) -> bool:
    # A label that goes from 0 to 1 does not change its table's size.
    return path.lower().endswith((".csv", ".csv.gz", ".json", ".txt", ".xml"))


def _read_summary(source: str, project: Project, external: str = "") -> dict[str, Any]:
    if not project.inventory.exists():
        raise UserError(f"{project.inventory} is not there: {RESCAN}")
    text = project.inventory.read_text(encoding="utf-8", errors="replace")
    refuse_conflict(project.inventory, text)
    try:
        summary = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{project.inventory} is not valid JSON: restore it from git, or {RESCAN}") from None
    kinds = {"source": str, "files": int, "bytes": int, "digest": str}
    if isinstance(summary, dict):
        other = summary.pop(EXTERNAL, None)
        if external:
            if not isinstance(other, dict) or other.pop("folder", "") != external:
                raise UserError(f"{project.inventory} does not describe data/raw/{external}: {RESCAN}")
            summary = other
    if not isinstance(summary, dict) or {key: type(value) for key, value in summary.items()} != kinds:
        raise UserError(f"{project.inventory} is not an inventory (keys: {', '.join(kinds)}): {RESCAN}")
    if summary["source"] != source:
        raise UserError(
            f"{project.inventory} describes {summary['source']!r} but data.{'external.' * bool(external)}source is "
            f"{source!r}: {RESCAN}"
        )
    return summary


def _read_list(source: str, path: Path, name: str = "") -> Inventory | None:
    try:
        files = pd.read_csv(path, dtype=_KINDS, keep_default_na=False)
        return Inventory(source, files[COLUMNS], name)
    except (ValueError, KeyError, OSError):
        return None  # a list that cannot be read is as good as none: the folder is hashed again
