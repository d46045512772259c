"""What tests let Ray's processes do: they import it from here."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from couplet.images.decoding.packing import ShardTask, make_shard
from couplet.images.decoding.writing import Stored
from couplet.project.errors import UserError


def doubled(item: int, threads: int) -> int:
    return 2 * item


def with_process(item: int, threads: int) -> int:
    return os.getpid()


def always_dies(item: int, threads: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def refuses(item: int, threads: int) -> int:
    raise UserError(f"item {item} is wrong: mend it")


def fails(item: int, threads: int) -> int:
    raise OSError(28, "No space left on device", "/scratch/x")


def shard_whose_process_is_killed_once(task: ShardTask, threads: int) -> list[Stored | str]:
    """The process of the first two shards is killed in the midst of writing them, the first time."""
    stem = task.shard.stem
    mark = stem.with_name(f"{stem.name}.killed")
    if len(list(stem.parent.glob("*.killed"))) < 2 and not mark.exists():
        mark.touch()
        stem.with_suffix(".tmp").write_bytes(b"half a shard")
        os.kill(os.getpid(), signal.SIGKILL)
    return make_shard(task, threads)


def processes_noted(folder: Path) -> int:
    """How many shards' processes were killed."""
    return len(list(folder.glob("*.killed")))
