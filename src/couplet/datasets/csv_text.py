"""The text of a CSV file: its header, and its rows with the line each starts on."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from pandas import Series

from couplet.datasets.folder import IMAGE_ENDINGS
from couplet.datasets.names import check_names
from couplet.project.errors import UserError

# The largest published table, unpacked, is a tenth of this. A packed file of a megabyte can hold a gigabyte.
MAX_BYTES = 2**30


def read_header(path: Path) -> list[str]:
    """Column names of a CSV file.

    Raises:
        UserError: it cannot be read as text in UTF-8.
    """
    return next(read_rows(path), (1, []))[1]


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line in the file, stripped cells) of each row, the header first, empty lines left out."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = _read_bytes(path, file)
        content.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} is not there: docs/datasets.md shows the layout") from None
    except (OSError, EOFError, zlib.error) as error:
        problem = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({problem}): restore the file") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, row {line}: byte 0x{error.object[error.start]:02x} is not UTF-8 text: "
            "save the table as CSV in UTF-8"
        ) from None
    # A StringIO would hold four bytes of each character.
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    before = 0
    try:
        for row in reader:
            # A quoted cell may go over several lines: a row is named by its first.
            line, before = before + 1, reader.line_num
            if row:
                yield line, [cell.strip() for cell in row]
    except csv.Error as error:
        raise UserError(
            f"{path}, row {before + 1}: not valid CSV ({error}): mend its quotation marks"
        ) from None


def _read_bytes(path: Path, file: io.BufferedIOBase) -> bytes:
    content = io.BytesIO()
    while piece := file.read(2**20):  # asked for MAX_BYTES, it would take that much memory before it reads
        content.write(piece)
        if content.tell() > MAX_BYTES:
            raise UserError(f"{path} has more than {MAX_BYTES} bytes: it is no label table, take it away")
    return content.getvalue()


def check_header(path: Path, header: list[str]) -> list[str]:
    """Return `header`, or raise a UserError if it is empty, not comma-separated, or has a bad name or one twice."""
    if not header:
        raise UserError(f"{path} is empty: check that the file is complete")
    if len(header) == 1 and (other := next((mark for mark in ";\t|" if mark in header[0]), None)):
        name = {";": "semicolons", "\t": "tabs", "|": "bars"}[other]
        raise UserError(f"{path}, row 1: columns are separated by {name}: save the table with commas")
    if files := [
        name for cell in header for name in cell.split()[:1] if name.lower().endswith(IMAGE_ENDINGS)
    ]:
        if len(header) == 1 and " " in header[0]:
            raise UserError(
                f"{path}, row 1: columns are separated by blanks: save the table with commas, and put a header above it"
            )
        raise UserError(
            f"{path}, row 1: {files[0]!r} is a file and no column's name: put a header above the table"
        )
    for name in header:
        # Nameless columns (a trailing comma, an unnamed index) may repeat: they are not read.
        if name and header.count(name) > 1:
            raise UserError(f"{path}, row 1: column {name!r} is there twice: rename or remove one of them")
    check_names(Series(header, dtype=str), lambda _: f"{path}, row 1")
    return header
