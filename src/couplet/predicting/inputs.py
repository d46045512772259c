"""What is to be predicted: the files that were named, and the pictures in folders."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pandas import Series

from couplet.datasets.folder import IMAGE_ENDINGS, walk
from couplet.datasets.names import check_names
from couplet.images.sniff import is_picture
from couplet.project.errors import UserError

Ids = Literal["name", "digest"]
ENDINGS = tuple({*IMAGE_ENDINGS, ".dcm", ".dicom"})


@dataclass(frozen=True, slots=True)
class Input:
    """A file that gets a row.

    Attributes:
        path: where it is.
        name: relative to the folder that was given, or the file's own name; posix.
        number: its place among all inputs, from 0.
    """

    path: Path
    name: str
    number: int


@dataclass(frozen=True)
class Inputs:
    """All files that get a row, in the order of the rows, and how many in the folders are no pictures."""

    files: Sequence[Input]
    n_skipped: int


def find_inputs(paths: Sequence[Path], ids: Ids = "name") -> Inputs:
    """Find the files: those named as they are, those in folders sorted by their path.

    A folder is walked as raw folders are (`datasets.folder.walk`). A file in it is taken for a picture if its content
    begins as one or its name ends as one, so that a damaged picture has a row; any other is counted and passed over. A
    file that was named has a row whatever it is.

    Raises:
        UserError: a path is not there, nothing is a picture, or a name cannot stand in a table.
    """
    files: list[Input] = []
    skipped = 0
    for path in paths:
        if path.is_dir():
            found = sorted(name for name, entry in walk(path) if entry is not None)
            pictures = [name for name in found if _counts(path / name)]
            skipped += len(found) - len(pictures)
            if not pictures:
                raise UserError(f"nothing to predict: {path} holds no image")
            places = [(path / name, name) for name in pictures]
        elif path.exists():
            places = [(path, path.name)]
        else:
            raise UserError(f"{path} is not there: name files or folders that are")
        files += [Input(place, name, len(files) + i) for i, (place, name) in enumerate(places)]
    if not files:
        raise UserError("nothing to predict: name a file or a folder")
    if ids == "name":
        names = Series([file.name for file in files], dtype=object)
        try:
            check_names(names, lambda row: str(files[row].path))
        except UserError:
            first = next(name for name in names if not _stands(name))
            raise UserError(
                f"the name {first!r} would be a formula in a table, or holds control characters: use --id digest"
            ) from None
    return Inputs(files, skipped)


def refuse_overwriting(inputs: Inputs, folders: Sequence[Path], outputs: Collection[Path]) -> None:
    """Raise UserError if an output is one of the inputs, or would lie among them and be read the next time."""
    taken = {file.path.resolve() for file in inputs.files}
    inside = [folder.resolve() for folder in folders if folder.is_dir()]
    for output in outputs:
        place = output.resolve()
        if place in taken:
            raise UserError(f"{output} is one of the inputs: write to another file")
        if not output.suffix and any(place.is_relative_to(folder) for folder in inside):
            raise UserError(
                f"{output} lies in a folder of inputs, where it would be read the next time: choose another"
            )


def id_of(file: Input, ids: Ids, digest: str) -> str:
    """What the file's row is called. A file that cannot be opened has no digest: it is called by its place."""
    return file.name if ids == "name" else digest or f"input-{file.number:06d}"


def digest_of(content: bytes) -> str:
    """The first 16 hex digits of the content's SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def _counts(path: Path) -> bool:
    if path.name.lower().endswith(ENDINGS):
        return True
    try:
        return is_picture(path)
    except OSError:
        return True  # nobody knows what it is: its row says that it cannot be opened


def _stands(name: str) -> bool:
    try:
        check_names(Series([name], dtype=object), str)
    except UserError:
        return False
    return True
