"""Reading and writing files: every write is atomic and gives the same bytes for the same content."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from couplet.errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two writers apart; a crash leaves a dot-file that no reader looks at.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with "\\n" line ends, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_csv(path: Path, frame: DataFrame, float_format: str | None = None) -> None:
    """Write a table without its index, "\\n" line ends, atomically."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n", float_format=float_format))


def write_json(path: Path, content: Any) -> None:
    """Write JSON with an indent of 2, keys in the order given, atomically. NaN is refused: null says it."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is not there or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run `dvc repro` (or `dvc checkout`) to make it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not valid JSON ({error}): restore it with `dvc checkout` or git"
        ) from None
