"""What a stage's result follows from: settings and code as dvc.yaml lists them, data as it lies on the disk.

dvc.lock is not asked. It says what the stages before wrote when DVC last ran them; `dvc repro -s` and a stage that is
run by hand check nothing of that, and the files may be others since.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from couplet.project.errors import UserError
from couplet.project.project import HERE, Project
from couplet.settings.params import Params, flatten, load_params
from couplet.settings.yaml12 import read_yaml

TABLES = (".csv", ".json")  # what is hashed of a folder of data: its shards and weights are large


@dataclass(frozen=True)
class Provenance:
    """What a stage's result follows from: parts of params.yaml, data (path to md5) and code (one digest)."""

    params: dict[str, Any]
    data: dict[str, str]
    code: str

    def key(self, **more: Any) -> str:
        """A short digest of all of it and of `more` (versions, device): the name of the scratch folder."""
        content = {"params": self.params, "data": self.data, "code": self.code, **more}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def stage_provenance(stage: str, params: Params, data: dict[str, str], project: Project = HERE) -> Provenance:
    """The settings and the code that dvc.yaml lists for `stage`, and the digests of its `data`."""
    declared = _declared(stage, params, project)
    return Provenance(_settings(declared, params), data, _code(declared, project))


def code_digests(stage: str, params: Params, project: Project = HERE) -> dict[str, str]:
    """Name to SHA-256 of every file of code that dvc.yaml lists for `stage`."""
    files = _code_contents(_declared(stage, params, project), project)
    return {name: hashlib.sha256(content).hexdigest() for name, content in files}


def _declared(stage: str, params: Params, project: Project) -> dict[str, Any]:
    """The stage's entry in dvc.yaml, with settings in the place of names such as ${model.head}."""
    entry = read_yaml(project.dvc_yaml)["stages"][stage]
    content: dict[str, Any] = dict(entry.get("do", entry))
    chosen = flatten(params.as_dict())

    def filled(dependency: str) -> str:
        return re.sub(r"\$\{([\w.]+)\}", lambda name: str(chosen.get(name[1], name[0])), dependency)

    content["deps"] = [filled(dependency) for dependency in content["deps"]]
    return content


def _settings(declared: dict[str, Any], params: Params) -> dict[str, Any]:
    """The settings that a stage tracks, by their dotted names."""
    tracked = declared.get("params", [])
    wanted = [name for name in tracked if isinstance(name, str)]
    whole = {HERE.params.as_posix(): None} in tracked
    return {
        key: value
        for key, value in flatten(params.as_dict()).items()
        if whole or any(key == w or key.startswith(f"{w}.") for w in wanted)
    }


def _code(declared: dict[str, Any], project: Project) -> str:
    """One digest of everything else that a stage depends on."""
    code = hashlib.sha256()
    for name, content in _code_contents(declared, project):
        code.update(f"{name}\0".encode() + content + b"\0")
    return code.hexdigest()[:20]


def _code_contents(declared: dict[str, Any], project: Project) -> Iterator[tuple[str, bytes]]:
    for dependency in declared["deps"]:
        if not dependency.startswith("data/"):
            for path in _code_files(project.root / dependency):
                yield path.relative_to(project.root).as_posix(), path.read_bytes()


def _code_files(path: Path) -> list[Path]:
    """The files that DVC hashes of a dependency: what .dvcignore leaves out must not make two runs differ."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(
            f"{HERE.dvc_yaml} names {path} as a dependency, but it is not there: restore it from git"
        )
    return sorted(p for p in path.rglob("*") if p.is_file() and not _ignored(p.relative_to(path)))


def _ignored(path: Path) -> bool:
    hidden_temporary = path.name.startswith(".") and path.suffix == ".tmp"
    return (
        "__pycache__" in path.parts or path.suffix == ".pyc" or path.name == ".gitignore" or hidden_temporary
    )


# --- what must not change while a stage runs ------------------------------------------------------------------


def refuse_changed_inputs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a stage fail if its settings, its code or its tables changed while it ran.

    DVC reads what it writes into dvc.lock after the stage has ended: it would record the new settings with
    the old ones' result, and call it up to date.

    Raises:
        UserError: something changed; with the exit code that follows, DVC takes nothing over.
    """
    stage = function.__name__

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        before = _inputs(stage)
        result = function(*args, **kwargs)
        after = _inputs(stage)
        changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        if changed:
            raise UserError(
                f"{changed[0]} changed while {stage} ran, so its result was not taken over: run `dvc repro` again"
            )
        return result

    return run


def _inputs(stage: str) -> dict[str, Any]:
    """What must not change while a stage runs: its params, its code, and the tables it reads."""
    params = load_params()
    declared = _declared(stage, params, HERE)
    data = [Path(path) for path in declared["deps"] if path.startswith("data/")]
    tables = [table for path in data for table in _tables(path)]
    hashes = {table.as_posix(): hashlib.sha256(table.read_bytes()).hexdigest() for table in tables}
    return {**_settings(declared, params), **hashes, "the code": _code(declared, HERE)}


def _tables(path: Path) -> list[Path]:
    """The file, or the tables directly in the folder; none if it is not there."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in TABLES and file.is_file())
    return [path] if path.is_file() else []
