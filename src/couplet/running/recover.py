"""`couplet recover`: put right what DVC itself cannot start with after it was killed or its disk ran full.

DVC rewrites dvc.lock and .dvc/tmp/rwlock in place. Ended in the middle of that, it leaves a file that no later
DVC command reads. Nothing is lost by giving either up: finished stages are in the run cache, unfinished ones in
scratch.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import psutil
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from couplet.project.console import say
from couplet.project.files import write_bytes
from couplet.project.project import HERE

RWLOCK = Path(".dvc/tmp/rwlock")


def recover() -> None:
    """Restore a broken dvc.lock from the last commit, and remove a broken or left-over rwlock."""
    if HERE.dvc_lock.exists() and not _lock_is_whole():
        committed = subprocess.run(
            ["git", "show", f"HEAD:./{HERE.dvc_lock}"], capture_output=True, check=False
        )
        if committed.returncode == 0:
            write_bytes(HERE.dvc_lock, committed.stdout)
            say(f"{HERE.dvc_lock} was half-written: restored as it was committed")
        else:
            HERE.dvc_lock.unlink()
            say(f"{HERE.dvc_lock} was half-written and was never committed: removed")
    if RWLOCK.exists() and not _rwlock_is_in_use():
        RWLOCK.unlink()
        say(f"{RWLOCK} was left behind by a DVC that is gone: removed")
    say("next: `dvc repro`")


def _lock_is_whole() -> bool:
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(HERE.dvc_lock.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, Invalid):
        return False
    return True


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
