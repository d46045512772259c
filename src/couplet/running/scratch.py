"""Resumable work outside DVC and git, keyed by exactly what DVC invalidates a stage on.

DVC deletes a stage's outputs before it runs, and `persist: true` would silently go on with a finished run of
other settings. So a stage keeps unfinished work in `.scratch/<stage>/<key>/`, where the key covers the stage's
own params, the md5 of its data as dvc.lock has them (DVC has just verified them: gigabytes are not hashed again)
and its code. What starts with the same key may go on from what is there; anything else starts afresh.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from couplet.project import paths
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.params import Params, flatten, load_params, read_yaml

KEEP_DAYS = 14
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


def stage_provenance(stage: str, params: Params) -> Provenance:
    """Read from dvc.yaml and dvc.lock what DVC invalidates `stage` on.

    A stage that is run by hand, without the lock's entries for its data, gets a random entry instead: its work is
    then never mistaken for that of a run on known data.
    """
    declared = _declared(stage)
    recorded = _recorded_outputs()
    data = {path: recorded.get(path) or f"{UNKNOWN}{secrets.token_hex(8)}" for path in _data(declared)}
    return Provenance(_settings(declared, params), data, _code(declared))


def _declared(stage: str) -> dict[str, Any]:
    """The stage's entry in dvc.yaml."""
    entry = read_yaml(paths.DVC_YAML)["stages"][stage]
    content: dict[str, Any] = entry.get("do", entry)
    return content


def _settings(declared: dict[str, Any], params: Params) -> dict[str, Any]:
    """The settings that a stage tracks, by their dotted names."""
    tracked = declared.get("params", [])
    wanted = [name for name in tracked if isinstance(name, str)]
    whole = {paths.PARAMS.as_posix(): None} in tracked
    return {
        key: value
        for key, value in flatten(params.as_dict()).items()
        if whole or any(key == w or key.startswith(f"{w}.") for w in wanted)
    }


def _data(declared: dict[str, Any]) -> list[str]:
    return [path for path in declared["deps"] if path.startswith("data/")]


def _code(declared: dict[str, Any]) -> str:
    """One digest of everything else that a stage depends on."""
    code = hashlib.sha256()
    for dependency in declared["deps"]:
        if not dependency.startswith("data/"):
            for path in _code_files(Path(dependency)):
                code.update(f"{path.as_posix()}\0".encode() + path.read_bytes() + b"\0")
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
    declared = _declared(stage)
    tables = [path for path in _data(declared) if Path(path).is_file()]
    hashes = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in tables}
    return {**_settings(declared, load_params()), **hashes, "the code": _code(declared)}


def _recorded_outputs() -> dict[str, str]:
    stages = _settled_lock().get("stages") or {}
    outs = [out for entry in stages.values() if entry for out in entry.get("outs") or []]
    return {out["path"]: out["md5"] for out in outs if "md5" in out}


def _settled_lock() -> dict[str, Any]:
    """Content of dvc.lock, {} if there is none.

    Another DVC (folds in parallel) rewrites it in place, and for a tenth of a second it is cut short or empty:
    it counts as whole once it has rested for LOCK_REST seconds.
    """
    for _ in range(LOCK_LOOKS):
        if not paths.DVC_LOCK.exists():
            return {}
        if abs(time.time() - paths.DVC_LOCK.stat().st_mtime) > LOCK_REST:  # abs: clocks of hosts differ
            with suppress(UserError):
                return read_yaml(paths.DVC_LOCK)
        time.sleep(LOCK_REST / 2)
    raise UserError(f"{paths.DVC_LOCK} is damaged: run `couplet recover`, then `dvc repro`")


def _code_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(
            f"{paths.DVC_YAML} names {path} as a dependency, but it is not there: restore it from git"
        )
    return sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".pyc")


@contextmanager
def workspace(stage: str, key: str) -> Iterator[Path]:
    """A folder for one key, held by this process alone.

    When DVC is killed and its stage lives on, a second stage process must wait for the first, not race it.
    COUPLET_FRESH=1 empties the folder first (for `dvc repro -f`).
    """
    folder = paths.scratch_root() / stage / key
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{key}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{stage}: another process is at work on the same thing ({folder}): waiting for it to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.environ.get("COUPLET_FRESH") == "1":
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        collect(folder.parent, keep=folder)
        yield folder


def collect(parent: Path, keep: Path | None = None, days: float = KEEP_DAYS) -> None:
    """Remove work that nobody has touched for `days`.

    By age and never at the end of a run: DVC has not taken over the outputs yet when the stage ends.
    """
    for folder in parent.iterdir():
        if not folder.is_dir() or folder == keep or _newest(folder) > time.time() - days * 86400:
            continue
        with (parent / f"{folder.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(folder, ignore_errors=True)


def _newest(folder: Path) -> float:
    """When anything in `folder` was last written. A parallel fold renames and removes files meanwhile."""
    times = []
    for path in (folder, *folder.rglob("*")):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:
            times.append(time.time())  # it was there a moment ago: somebody is at work here
    return max(times)
