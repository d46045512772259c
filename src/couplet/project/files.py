"""Reading and writing files: every write is atomic and gives the same bytes for the same content."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from couplet.project.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from pandas import DataFrame


RESTORE = "restore it with `dvc checkout` or git, or make it again with `dvc repro`"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to, which takes the place of `path` at the end: a reader never sees a part of it.

    Raises:
        OSError: it cannot be written (a full or read-only disk); its `filename` says which file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two writers apart. A killed one leaves a file that git and DVC ignore.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if not is_running(left.name.split(".")[-2]):
            left.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically (see `replacing`)."""
    with replacing(path) as file:
        file.write(data)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content in hex, read in pieces: weights may be larger than the memory that is left."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError of writing to an open file, which knows no name, the name of `path`."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def is_running(process_id: str) -> bool:
    """Whether a process of this number is there; a number that cannot be one counts as there."""
    try:
        os.kill(int(process_id), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):
        pass
    return True


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with "\\n" line ends, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_csv(path: Path, frame: DataFrame, float_format: str | None = None) -> None:
    """Write a table without its index, "\\n" line ends, atomically."""
    with replacing(path) as file:
        frame.to_csv(file, index=False, lineterminator="\n", float_format=float_format)


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays without pickle, atomically; there may be none."""
    import numpy as np

    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_json(path: Path, content: Any) -> None:
    """Write JSON with an indent of 2, keys in the order given, atomically. NaN is refused: null says it."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def refuse_conflict(path: Path, text: str, then: str = "") -> None:
    """Raise a UserError that names the first mark of a merge conflict in a text file, if there is one."""
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match("<{7}( |$)", line):
            raise UserError(
                f"{path} line {number}: git left a merge conflict here ({line[:60]}): keep one side and take its marks "
                f"out, or `git checkout --ours {path}` (or --theirs){then}"
            )


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is not there, is not JSON or holds a merge conflict.
    """
    try:
        text = path.read_text(encoding="utf-8")
        refuse_conflict(path, text)
        return json.loads(text)
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run `dvc repro` (or `dvc checkout`) to make it") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): {RESTORE}") from None


def read_record(path: Path, **kinds: type) -> dict[str, Any]:
    """Read a JSON object that must have these keys, with values of these types (`object`: any, also null).

    Raises:
        UserError: as `read_json`, or a key is missing or of another type.
    """
    content = read_json(path)
    for key, kind in kinds.items():
        if not isinstance(content, dict) or key not in content or not isinstance(content[key], kind):
            raise UserError(f"{path}: {key!r} is missing or of another kind than it should be: {RESTORE}")
    return content
