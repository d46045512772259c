"""Sizes and md5s of many files: by threads, or by Ray's tasks where there is a cluster."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

from couplet.project.errors import UserError
from couplet.running.engine import on_ray, ordered_tasks

FILES_PER_TASK = 4096


def sizes_and_md5s(folder: Path, names: list[str], workers: int | None = None) -> Iterator[tuple[int, str]]:
    """Size and md5 of each file of `folder`, in order, with `workers` threads (default: two per core, at most 16).

    Raises:
        UserError: one of them cannot be read.
    """
    if on_ray():
        return _by_tasks(folder, names)
    return _by_threads(folder, names, workers or min(16, 2 * (os.cpu_count() or 1)))


def _by_threads(folder: Path, names: list[str], threads: int) -> Iterator[tuple[int, str]]:
    """Size and md5 of each file, in order."""
    with ThreadPool(threads) as pool:
        yield from pool.imap(lambda name: size_and_md5(folder / name), names, chunksize=16)


def _by_tasks(folder: Path, names: list[str]) -> Iterator[tuple[int, str]]:
    """The same by Ray tasks of 4,096 files."""
    starts = range(0, len(names), FILES_PER_TASK)
    tasks = [(folder.absolute(), names[start : start + FILES_PER_TASK]) for start in starts]
    for results in ordered_tasks(hash_files, tasks, "run of files"):
        yield from results


def hash_files(task: tuple[Path, list[str]], threads: int) -> list[tuple[int, str]]:
    """Size and md5 of files, by their folder and their names below it.

    Raises:
        UserError: one of them cannot be read.
    """
    return list(_by_threads(*task, threads))


def size_and_md5(path: Path) -> tuple[int, str]:
    """Size in bytes and md5 of one file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
            return file.tell(), digest.hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): mend or remove the file") from None
