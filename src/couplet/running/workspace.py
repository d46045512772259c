"""Unfinished work outside DVC and git, keyed by exactly what DVC invalidates a stage on.

DVC deletes a stage's outputs before it runs, and `persist: true` would silently go on with a finished run of
other settings. So a stage keeps unfinished work in `.scratch/<stage>/<key>/` (`Provenance.key`). What starts with the
same key may go on from what is there; anything else starts afresh.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from couplet.project.console import say
from couplet.project.project import HERE, Project

KEEP_DAYS = 14


@contextmanager
def workspace(stage: str, key: str, project: Project = HERE) -> Iterator[Path]:
    """A folder for one key, held by this process alone.

    When DVC is killed and its stage lives on, a second stage process must wait for the first, not race it.
    COUPLET_FRESH=1 empties the folder first (for `dvc repro -f`).
    """
    folder = project.scratch / stage / key
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
