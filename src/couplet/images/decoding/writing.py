"""One shard in scratch: written whole or not at all, and recognised when a run comes back to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from couplet.images.codec import FILES, array_header, index_file, shard_name
from couplet.project.errors import UserError
from couplet.project.files import naming, read_json, sha256_of, write_bytes, write_json
from couplet.results.shard_list import StoredFile
from couplet.settings.schema.image import Codec


class Stored(NamedTuple):
    """What is known of an image in a shard: its original size in pixels, its `codec.picture_digest`, and of DICOM.

    That is ViewPosition, and whether BurnedInAnnotation is YES (`couplet.images.decoding.picture.Facts`).
    """

    width: int
    height: int
    picture: str
    view_position: str = ""
    burned_in: bool = False


class Encoded(NamedTuple):
    """An image in the shard and what is known of it, or why there is none; and whether its file is DICOM."""

    result: Stored | str
    content: bytes = b""
    dicom: bool = False


@dataclass(frozen=True)
class NewShard:
    """Files that differ in their endings only: one or two of the codec, and a JSON record of what is in them.

    Attributes:
        stem: their path without the endings, named by what images follow from.
        codec: how images are written.
        dicom: digest of what DICOM images follow from besides: it counts for shards that hold some.
    """

    stem: Path
    codec: Codec
    dicom: str = ""

    @property
    def files(self) -> list[Path]:
        """The images, and with codec jpeg their index."""
        return [self.stem.with_suffix(ending) for ending in FILES[self.codec]]

    @property
    def record(self) -> Path:
        """Written last: without it, or without its digests being right, the shard is not finished."""
        return self.stem.with_suffix(".json")

    def finished(self) -> list[Stored | str] | None:
        """What the shard's images became, or None if it is missing, half-written or damaged."""
        if not all(path.exists() for path in (*self.files, self.record)):
            return None
        try:
            record = read_json(self.record)
            images = [image if isinstance(image, str) else Stored(*image) for image in record["images"]]
            same = record.get("dicom", self.dicom) == self.dicom
            return images if same and record["sha256"] == [sha256_of(file) for file in self.files] else None
        except (UserError, KeyError, TypeError):
            return None

    def write(self, encoded: Iterator[Encoded], shape: tuple[int, int, int]) -> Iterator[Stored | str]:
        """Write the shard image by image, and yield what became of each."""
        file, *index = self.files
        temporary = self.stem.with_suffix(".tmp")
        results: list[Stored | str] = []
        any_dicom = False
        offsets = [0]
        with naming(file), temporary.open("wb") as shard:
            start = shard.write(self._header(0, shape))
            for item in encoded:
                if not isinstance(item.result, str):
                    offsets.append(offsets[-1] + shard.write(item.content))
                any_dicom |= item.dicom
                results.append(item.result)
                yield item.result
            # Only now is it known how many images are readable. NumPy pads headers: the length stays the same.
            shard.seek(0)
            if shard.write(self._header(len(offsets) - 1, shape)) != start:
                raise RuntimeError("the .npy header changed its length")
            shard.flush()
            os.fsync(shard.fileno())
        temporary.replace(file)
        for path in index:
            write_bytes(path, index_file(offsets))
        record = {"sha256": [sha256_of(path) for path in self.files], "images": results}
        write_json(self.record, record | ({"dicom": self.dicom} if any_dicom else {}))

    def link_into(self, folder: Path, number: int) -> list[StoredFile]:
        """Give the files their names in `folder`, as hard links where the file system allows it; say what they are."""
        digests = read_json(self.record)["sha256"]
        stored = []
        for file, ending, sha256 in zip(self.files, FILES[self.codec], digests, strict=True):
            target = folder / shard_name(number, ending)
            try:
                target.hardlink_to(file)
            except OSError:  # another file system, or one without hard links
                shutil.copyfile(file, target)
            stored.append(StoredFile(target.name, target.stat().st_size, sha256))
        return stored

    def _header(self, n: int, shape: tuple[int, int, int]) -> bytes:
        return array_header(n, shape) if self.codec == "raw" else b""
