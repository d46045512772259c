"""Raw image files -> shards of the packed store, resumable: a shard is the unit of work.

The files are cut into runs of 4,096. Each run is decoded (and encoded, with codec jpeg) by a pool of threads
into one shard in scratch, which holds its readable images in order. A shard is named by a digest of what it
follows from (its files' md5s, the size, the codec, the decoder): a run that was interrupted, or that finds a
few files changed, decodes only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

from couplet.images.codec import EXPECTED_SHARE, codec_fingerprint, encode, picture_digest, workers_wanted
from couplet.images.decoding.decode import MAX_BYTES, decode_picture, fingerprint, is_dicom
from couplet.images.decoding.dicom_version import dicom_fingerprint
from couplet.images.decoding.picture import MissingExtra, UnreadableImage, UnsuitableImage
from couplet.images.decoding.pool import ordered_map
from couplet.images.decoding.writing import Encoded, NewShard, Stored
from couplet.project.errors import UserError
from couplet.project.project import HERE
from couplet.results.manifest import SHARD_STRIDE
from couplet.results.shard_list import write_shard_list
from couplet.running.engine import on_ray, ordered_tasks
from couplet.settings.schema.image import Codec, Rendering

SHARD_SIZE = SHARD_STRIDE


class RawImage(NamedTuple):
    """A file as the inventory has it: posix path relative to the raw folder, size in bytes, md5."""

    path: str
    size: int
    md5: str


class Outcome(NamedTuple):
    """What became of one image: its place in the store and what `Stored` says of it, or a reason."""

    shard: int = -1
    row: int = -1
    width: int = 0
    height: int = 0
    picture: str = ""
    view_position: str = ""
    burned_in: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Packing:
    """The shards of one data set.

    Attributes:
        raw: raw folder of the data set.
        images: its images, in the order in which they are stored.
        scratch: folder of finished shards, which this process alone uses.
        size: side S of stored images, in pixels.
        channels: 1 or 3.
        shard_size: images per shard, at most SHARD_STRIDE.
        codec: how images are written (`couplet.images.codec`).
        rendering: how grey values of DICOM become 8 bits.
        body_parts: values of BodyPartExamined that suit; None: any.
    """

    raw: Path
    images: Sequence[RawImage]
    scratch: Path
    size: int
    channels: int
    shard_size: int
    codec: Codec = "raw"
    rendering: Rendering = "voi"
    body_parts: Collection[str] | None = None

    def run(self) -> Iterator[Outcome]:
        """Make the shards that are not in scratch yet; yield one outcome per image, in order.

        Raises:
            UserError: a file is not the one of the inventory, or DICOM and what reads it is not installed; or the
                disk is too small.
        """
        self._require_space()
        shards = self._made_by_tasks() if on_ray() else self._made_here()
        for index, results in enumerate(shards):
            row = 0
            for result in results:
                if isinstance(result, str):
                    yield Outcome(reason=result)
                else:
                    yield Outcome(index, row, *result)
                    row += 1

    def _made_here(self) -> Iterator[Iterable[Stored | str]]:
        """What became of each shard's images, decoded by threads of this process."""
        with self._decoder(workers_wanted()) as decoded:
            for shard, images in self._shards.items():
                results = shard.finished()
                yield self._write(shard, decoded(images)) if results is None else results

    def _made_by_tasks(self) -> Iterator[Iterable[Stored | str]]:
        """The same by Ray tasks, a shard each: what a killed one left is found finished or is made again."""
        # A task's process may have another working directory.
        plan = replace(self, raw=self.raw.absolute(), scratch=self.scratch.absolute(), images=())
        tasks = [
            ShardTask(plan, replace(shard, stem=shard.stem.absolute()), images, self._decoder_digests)
            for shard, images in self._shards.items()
        ]
        yield from ordered_tasks(make_shard, tasks, "shard")

    @contextmanager
    def _decoder(self, threads: int) -> Iterator[Callable[[Iterable[RawImage]], Iterator[Encoded]]]:
        how = (self.size, self.channels, self.codec, self.rendering, self.body_parts)
        decode = partial(_decode_as_listed, self.raw, *how)
        with warnings.catch_warnings(), ordered_map(decode, threads) as decoded:
            # Pillow's warnings about metadata are silenced: `decode_bytes` raises for whatever affects pixels. Set
            # once, here, because all threads of the pool share the filter.
            warnings.simplefilter("ignore")
            yield decoded

    def _write(self, shard: NewShard, encoded: Iterator[Encoded]) -> Iterator[Stored | str]:
        return shard.write(encoded, (self.channels, self.size, self.size))

    @property
    def _decoder_digests(self) -> list[str]:
        dicom = dicom_fingerprint(self.rendering, self.body_parts)
        return [fingerprint(), codec_fingerprint(self.codec), dicom]

    def link_into(self, folder: Path) -> None:
        """Give the finished shards their names in `folder`, as hard links where possible, and list them there."""
        folder.mkdir(parents=True, exist_ok=True)
        stored = [file for index, shard in enumerate(self._shards) for file in shard.link_into(folder, index)]
        write_shard_list(folder, stored)

    def forget_others(self) -> None:
        """Remove from scratch what earlier runs on other files left there."""
        keep = {file for shard in self._shards for file in (*shard.files, shard.record)}
        for path in set(self.scratch.iterdir()) - keep:
            path.unlink()

    @cached_property
    def _shards(self) -> dict[NewShard, Sequence[RawImage]]:
        origin = [*self._decoder_digests[:2], self.size, self.channels]
        dicom = self._decoder_digests[2]  # part of the names of shards that hold DICOM
        shards = {}
        for start in range(0, len(self.images), self.shard_size):
            images = self.images[start : start + self.shard_size]
            # Two shards may hold copies of the same files: `start` gives them different names.
            content = json.dumps([origin, start, [image.md5 for image in images]])
            digest = hashlib.sha256(content.encode()).hexdigest()[:32]
            shards[NewShard(self.scratch / digest, self.codec, dicom)] = images
        return shards

    def _require_space(self) -> None:
        missing = (len(images) for shard, images in self._shards.items() if not shard.files[0].exists())
        needed = sum(missing) * self.channels * self.size**2 * EXPECTED_SHARE[self.codec]
        free = shutil.disk_usage(self.scratch).free
        if needed > free:
            smaller = " set image.codec: jpeg," if self.codec == "raw" else ""
            raise UserError(
                f"{self.scratch} has {free / 1e9:.1f} GB left, the store needs {needed / 1e9:.1f} GB more: "
                f"free space, lower image.store_size,{smaller} or set COUPLET_SCRATCH to a folder on a larger disk"
            )


class ShardTask(NamedTuple):
    """A shard to be made elsewhere: the packing without its images, the shard, its images, and what decodes them."""

    packing: Packing
    shard: NewShard
    images: Sequence[RawImage]
    decoder: list[str]


def make_shard(task: ShardTask, threads: int) -> list[Stored | str]:
    """Make a shard unless it is finished, and say what became of its images.

    Raises:
        UserError: this machine decodes otherwise than the one that planned the shard; see `Packing.run`.
    """
    packing, shard, images, decoder = task
    if packing._decoder_digests != decoder:
        raise UserError(
            f"{platform.node()} decodes images by other code or another Pillow than the machine that runs prepare: "
            "install the same versions on all nodes, and give them one checkout"
        )
    results = shard.finished()
    if results is None:
        with packing._decoder(threads) as decoded:
            results = list(packing._write(shard, decoded(images)))
    return results


def _decode_as_listed(
    raw: Path,
    size: int,
    channels: int,
    codec: Codec,
    rendering: Rendering,
    body_parts: Collection[str] | None,
    image: RawImage,
) -> Encoded:
    """One file's bytes in the store, or why it has none; it is read once, and must be the inventory's."""
    path = raw / image.path
    if image.size > MAX_BYTES:
        return Encoded(f"the file has more than {MAX_BYTES} bytes")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): mend or remove the file, then `couplet scan`"
        ) from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != image.md5:
        raise UserError(
            f"{path} changed since {HERE.inventory} was written: restore it, or run `couplet scan`"
        )
    try:
        picture = decode_picture(content, size, channels, rendering, name=image.path, body_parts=body_parts)
    except MissingExtra as error:
        raise UserError(f"{path}: {error}") from None
    except (UnreadableImage, UnsuitableImage) as error:
        return Encoded(str(error), dicom=is_dicom(content))
    encoded, facts = encode(picture.pixels, codec), picture.facts
    digest = picture_digest(picture.pixels, encoded)
    stored = Stored(picture.width, picture.height, digest, facts.view_position, facts.burned_in is True)
    return Encoded(stored, encoded, picture.dicom)
