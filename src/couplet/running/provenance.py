"""What a stage's result follows from: exactly what DVC invalidates the stage on, read from dvc.yaml and dvc.lock."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from couplet.project.errors import UserError
from couplet.project.project import HERE, Project
from couplet.settings.params import Params, flatten, load_params
from couplet.settings.yaml12 import read_yaml

UNKNOWN = "unknown "
LOCK_LOOKS, LOCK_REST = 20, 0.3  # seconds; three times what DVC takes to write the file


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

    def differs_from(self, other: Provenance) -> bool:
        """Whether anything known of the two differs. Unknown data is new each time one looks, not changed."""

        def known(data: dict[str, str]) -> dict[str, str]:
            return {path: md5 for path, md5 in data.items() if not md5.startswith(UNKNOWN)}

        return (self.params, self.code, known(self.data)) != (other.params, other.code, known(other.data))


def stage_provenance(stage: str, params: Params, project: Project = HERE) -> Provenance:
    """Read from dvc.yaml and dvc.lock what DVC invalidates `stage` on.

    A stage that is run by hand, without the lock's entries for its data, gets a random entry instead: its work is
    then never mistaken for that of a run on known data.
    """
    declared = _declared(stage, params, project)
    recorded = _recorded_outputs(project)
    data = {path: recorded.get(path) or f"{UNKNOWN}{secrets.token_hex(8)}" for path in _data(declared)}
    return Provenance(_settings(declared, params, project), data, _code(declared, project))


def _declared(stage: str, params: Params, project: Project) -> dict[str, Any]:
    """The stage's entry in dvc.yaml, with settings in the place of names such as ${model.head}."""
    entry = read_yaml(project.dvc_yaml)["stages"][stage]
    content: dict[str, Any] = dict(entry.get("do", entry))
    chosen = flatten(params.as_dict())

    def filled(dependency: str) -> str:
        return re.sub(r"\$\{([\w.]+)\}", lambda name: str(chosen.get(name[1], name[0])), dependency)

    content["deps"] = [filled(dependency) for dependency in content["deps"]]
    return content


def _settings(declared: dict[str, Any], params: Params, project: Project) -> dict[str, Any]:
    """The settings that a stage tracks, by their dotted names."""
    tracked = declared.get("params", [])
    wanted = [name for name in tracked if isinstance(name, str)]
    whole = {HERE.params.as_posix(): None} in tracked
    return {
        key: value
        for key, value in flatten(params.as_dict()).items()
        if whole or any(key == w or key.startswith(f"{w}.") for w in wanted)
    }


def _data(declared: dict[str, Any]) -> list[str]:
    return [path for path in declared["deps"] if path.startswith("data/")]


def _code(declared: dict[str, Any], project: Project) -> str:
    """One digest of everything else that a stage depends on."""
    code = hashlib.sha256()
    for dependency in declared["deps"]:
        if not dependency.startswith("data/"):
            for path in _code_files(project.root / dependency):
                name = path.relative_to(project.root).as_posix()
                code.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return code.hexdigest()[:20]


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
    """What must not change while a stage runs: its params, its code, and the files (not folders) it reads."""
    params = load_params()
    declared = _declared(stage, params, HERE)
    tables = [path for path in _data(declared) if Path(path).is_file()]
    hashes = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in tables}
    return {**_settings(declared, params, HERE), **hashes, "the code": _code(declared, HERE)}


def _recorded_outputs(project: Project) -> dict[str, str]:
    stages = _settled_lock(project).get("stages") or {}
    outs = [out for entry in stages.values() if entry for out in entry.get("outs") or []]
    return {out["path"]: out["md5"] for out in outs if "md5" in out}


def _settled_lock(project: Project) -> dict[str, Any]:
    """Content of dvc.lock, {} if there is none.

    Another DVC (folds in parallel) rewrites it in place, and for a tenth of a second it is cut short or empty:
    it counts as whole once it has rested for LOCK_REST seconds.
    """
    for _ in range(LOCK_LOOKS):
        if not project.dvc_lock.exists():
            return {}
        if abs(time.time() - project.dvc_lock.stat().st_mtime) > LOCK_REST:  # abs: clocks of hosts differ
            with suppress(UserError):
                return read_yaml(project.dvc_lock)
        time.sleep(LOCK_REST / 2)
    raise UserError(f"{project.dvc_lock} is damaged: run `couplet recover`, then `dvc repro`")


def _code_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(
            f"{HERE.dvc_yaml} names {path} as a dependency, but it is not there: restore it from git"
        )
    return sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".pyc")
