"""What lies in a data set's raw folder: the one walk that both the inventory and the adapters believe."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from pandas import Series

from couplet.images.decoding.picture import DICOM_ENDINGS
from couplet.project.errors import UserError

# Absolute paths, drive letters, backslashes, empty, `.` and `..` parts, and control characters.
_UNSAFE = r"^/|^[A-Za-z]:|\\|(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f]"

# What an image file may end with; a name in a label table may come without.
IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".ppm", ".pgm"),
    *DICOM_ENDINGS,
)
# What network storage keeps beside the data: thumbnails, and what was deleted.
_NOT_DATA = ("@eaDir", "#recycle")
# More folders than these at the top are one for each patient or study, and none of them holds all images.
_MOST_HOMES = 100
# Sources whose raw folder holds a folder, or a link to one, for each of several data sets.
OF_MEMBERS = ("combined",)


def require_folder(source: str, folder: Path) -> None:
    """Raise a UserError that says how to link the data unless `folder` is there."""
    if folder.is_dir():
        return
    state = "is a link to something that is not there" if folder.is_symlink() else "is not there"
    raise UserError(
        f"{folder} {state}: link the data with `ln -s /path/to/the/data {folder}` "
        f"(docs/datasets.md, {source}), or set COUPLET_DATA_ROOT"
    )


def walk(root: Path, below: Collection[str] | None = None) -> Iterator[tuple[str, os.DirEntry[str] | None]]:
    """Yield (posix path relative to `root`, entry) of every regular file, in no particular order.

    Hidden files and folders are left out, and so are `@eaDir`, `#recycle` and what is no file. Links are
    followed as long as they stay inside `root`; one that leaves it comes with None instead of its entry, one
    that leads to itself not at all. `root` itself may be a link.

    Args:
        root: the folder.
        below: names at the top of `root` to which the walk is confined.
    """
    top = str(root.resolve())
    pending: list[tuple[str, str, tuple[str, ...]]] = [("", str(root), (top,))]
    while pending:
        prefix, folder, chain = pending.pop()
        for entry in _entries(folder):
            if _is_hidden(entry.name) or (not prefix and below is not None and entry.name not in below):
                continue
            path, real = prefix + entry.name, f"{chain[-1]}/{entry.name}"
            if entry.is_symlink():
                if _is_circle(Path(entry.path)):
                    continue
                real = str(Path(entry.path).resolve())
                if not _inside(real, top):
                    yield path, None
                    continue
            if entry.is_file():
                yield path, entry
            # A link to a folder that is being walked already would never end.
            elif entry.is_dir() and not any(_inside(step, real) for step in chain):
                pending.append((f"{path}/", entry.path, (*chain, real)))


def walk_members(root: Path) -> Iterator[tuple[str, os.DirEntry[str] | None]]:
    """`walk` for a folder of data sets (OF_MEMBERS): each folder directly in `root` is walked by itself.

    So a link directly in `root` may lead out of it, to a whole data set, but nothing below may leave its data set.
    """
    for entry in _entries(str(root)):
        if _is_hidden(entry.name) or (entry.is_symlink() and _is_circle(Path(entry.path))):
            continue
        if entry.is_dir():
            for path, file in walk(Path(entry.path)):
                yield f"{entry.name}/{path}", file
        elif entry.is_file():
            inside = _inside(str(Path(entry.path).resolve()), str(root.resolve()))
            yield entry.name, entry if inside else None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _NOT_DATA


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): mend its access rights") from None


def _is_circle(path: Path) -> bool:
    """Whether a link leads to itself, which is nowhere."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def check_images(folder: Path, paths: Series, where: Callable[[int], str]) -> None:
    """Check that every image that a label table names is a file inside `folder`.

    Args:
        folder: the raw folder of the data set.
        paths: posix paths relative to `folder`, with the index of the label table.
        where: names the place in the label table for an index value, for messages.

    Raises:
        UserError: a path is unsafe, leaves the folder, or is no file; the first is named, the others counted.
    """
    check_paths(paths, where)
    found = {path for path, entry in walk(folder, set(paths.str.partition("/")[0])) if entry is not None}
    missing = paths[~paths.isin(found)]
    if len(missing):
        state, remedy = _why_missing(folder, missing.iloc[0], found)
        count = f" ({len(missing)} images are missing)" if len(missing) > 1 else ""
        raise UserError(f"{where(missing.index[0])}: {missing.iloc[0]} {state}{count}: {remedy}")


def homes_of(folder: Path, name: str) -> list[str]:
    """Folders at the top of `folder` that hold an image of that name, with or without ending; ["."] if itself does.

    Of many folders only the first are looked at: every look takes a while on network storage.
    """
    if not name or not folder.is_dir():
        return []
    endings = ("", *IMAGE_ENDINGS, *map(str.upper, IMAGE_ENDINGS))
    ends = ("",) if name.lower().endswith(IMAGE_ENDINGS) else endings

    def holds(place: str) -> bool:
        try:
            return any((folder / place / f"{name}{end}").is_file() for end in ends)
        except OSError:  # a cell that is longer than any file's name
            return False

    if holds("."):
        return ["."]
    # `is_dir` of an entry asks the file system for links alone.
    places = sorted(
        entry.name for entry in _entries(str(folder)) if not _is_hidden(entry.name) and entry.is_dir()
    )
    return [place for place in places[:_MOST_HOMES] if holds(place)]


def with_endings(folder: Path, paths: Series, where: Callable[[int], str]) -> Series:
    """Give the paths of images that a label table names without `.jpg` or the like the ending of their files.

    A path that is a file stays as it is, and so does one that is nowhere, which `check_images` names. A DICOM file
    is taken where there is no other: what somebody converted is meant to be read.

    Raises:
        UserError: two files differ from such a path by their ending alone.
    """
    if all(path.lower().endswith(IMAGE_ENDINGS) for path in paths):
        return paths
    found = [
        path
        for path, _ in walk(folder, set(paths.str.partition("/")[0]))
        if path.lower().endswith(IMAGE_ENDINGS)
    ]
    images: dict[str, list[str]] = {}
    dicom: dict[str, list[str]] = {}
    for path in sorted(found):
        kind = dicom if path.lower().endswith(DICOM_ENDINGS) else images
        kind.setdefault(path.rpartition(".")[0], []).append(path)
    there = set(found)
    whole = {}
    for row, path in zip(paths.index, paths, strict=True):
        files = [path] if path in there else images.get(path) or dicom.get(path, [path])
        if len(files) > 1:
            raise UserError(
                f"{where(row)}: {path} could be {' or '.join(files)}: remove one of them, or write the name with its "
                "ending"
            )
        whole[row] = files[0]
    return Series(whole, dtype=str, name=paths.name)


def _plain(path: str) -> str:
    # What file systems and editors confuse: upper and lower case, spaces, the two ways to write an accent.
    return unicodedata.normalize("NFC", path).casefold().replace(" ", "")


def check_paths(paths: Series, where: Callable[[int], str]) -> None:
    """Raise a UserError for the first path that could lead out of the raw folder, whatever lies there."""
    unsafe = paths[paths.str.contains(_UNSAFE)] if len(paths) else paths
    if len(unsafe):
        raise UserError(
            f"{where(unsafe.index[0])}: {unsafe.iloc[0]!r} is not a path inside the data folder: "
            "write it relative, with '/' and without '..'"
        )


def _why_missing(folder: Path, path: str, found: set[str]) -> tuple[str, str]:
    image = folder / path
    if any(part.startswith(".") for part in path.split("/")):
        return "is hidden", "names that start with a dot are not read, rename it"
    if any(part in _NOT_DATA for part in path.split("/")):
        return "is not read", f"{' and '.join(_NOT_DATA)} are no data, put the file elsewhere"
    if _is_circle(image):
        return "is a link that leads to itself", "mend the link or put the file there"
    if not _inside(str(image.resolve()), str(folder.resolve())):
        return "leaves the data folder through a link", f"link the whole data set as {folder} instead"
    if image.is_dir():
        return "is a folder, not an image", "put the image file there"
    if image.exists():
        return "is not a regular file", "put the image file there"
    if image.is_symlink():
        return "is a link to something that is not there", "mend the link or put the file there"
    if alike := sorted(other for other in found if _plain(other) == _plain(path)):
        return f"is not in {folder}, but {alike[0]!r} is", "write it exactly so, or rename the file"
    return f"is not in {folder}", "put the file there or take the row out of the table"
