"""`couplet recover`: put right what DVC itself cannot start with after it was killed or its disk ran full.

DVC rewrites dvc.lock and .dvc/tmp/rwlock in place. Ended in the middle of that, it leaves a file that no later
DVC command reads. Nothing is lost by giving either up: finished stages are in the run cache, unfinished ones in
scratch.
"""

from __future__ import annotations

import json
import subprocess
from itertools import count
from pathlib import Path

import psutil
import yaml
from dvc.config import Config
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from couplet.project.console import say
from couplet.project.files import refuse_conflict, write_bytes
from couplet.project.project import HERE

RWLOCK = Path(".dvc/tmp/rwlock")


def recover() -> None:
    """Restore a broken dvc.lock from the last commit, and remove a broken or left-over rwlock.

    Where no commit has a whole lock, the broken one is kept beside its place: nobody's record is thrown away.

    Raises:
        UserError: a file that DVC reads holds a merge conflict, of which somebody has to choose a side.
    """
    for path in (HERE.dvc_lock, HERE.dvc_yaml, HERE.params):
        if path.is_file():
            refuse_conflict(
                path, path.read_text(encoding="utf-8", errors="replace"), ", then run `dvc repro`"
            )
    if HERE.dvc_lock.exists() and not _is_whole(HERE.dvc_lock.read_bytes()):
        committed = _committed_lock()
        if committed is not None:
            write_bytes(HERE.dvc_lock, committed)
            say(f"{HERE.dvc_lock} was half-written: restored as it was committed")
        else:
            kept = _free_name()
            HERE.dvc_lock.rename(kept)
            say(f"{HERE.dvc_lock} was half-written, and the last commit has no whole one: moved to {kept}")
    if RWLOCK.exists() and not _rwlock_is_in_use():
        RWLOCK.unlink()
        say(f"{RWLOCK} was left behind by a DVC that is gone: removed")
    if not _dvc_finds_git():
        say(
            "this is no git checkout, and DVC will not start: run `git init && git add -A && git commit -m start`, or "
            "`dvc config --local core.no_scm true` to do without experiments and comparisons; next: `dvc repro`"
        )
    else:
        say("next: `dvc repro`")


def _dvc_finds_git() -> bool:
    """Whether DVC has the git repository that it wants, here or above, or was told to do without."""
    here = HERE.root.absolute()
    if any((folder / ".git").exists() for folder in (here, *here.parents)):
        return True
    return bool(Config(str(here / ".dvc"))["core"].get("no_scm"))


def _is_whole(lock: bytes) -> bool:
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(lock.decode("utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, Invalid):
        return False
    return True


def _committed_lock() -> bytes | None:
    """The last commit's dvc.lock; None without git, without a commit, or where it is not whole there either."""
    command = ["git", "show", f"HEAD:./{HERE.dvc_lock}"]
    try:
        found = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return found.stdout if found.returncode == 0 and _is_whole(found.stdout) else None


def _free_name() -> Path:
    names = (HERE.dvc_lock.with_name(f"{HERE.dvc_lock.name}.damaged{n if n > 1 else ''}") for n in count(1))
    return next(path for path in names if not path.exists())


def _rwlock_is_in_use() -> bool:
    """Whether a DVC that is running has entered itself there, or nothing is entered at all."""
    try:
        entered = json.loads(RWLOCK.read_text(encoding="utf-8"))
        writers = list(entered.get("write", {}).values())
        readers = [reader for several in entered.get("read", {}).values() for reader in several]
        numbers = {int(info["pid"]) for info in writers + readers}
    except (ValueError, AttributeError, KeyError, TypeError):
        return False
    return not numbers or any(map(_is_dvc, numbers))


def _is_dvc(number: int) -> bool:
    """Whether process `number` is a DVC. Its number alone says little: after a restart another may have it."""
    try:
        arguments = psutil.Process(number).cmdline()
    except psutil.AccessDenied:
        return True  # somebody else's process: it may be one
    except (psutil.Error, ValueError, OverflowError):
        return False
    return any(Path(argument).name == "dvc" for argument in arguments)
