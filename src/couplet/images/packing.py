"""Raw image files -> shards of the packed store, resumable: a shard is the unit of work.

The files are cut into runs of 4,096. Each run is decoded by a pool of processes into one shard in scratch,
which holds its readable images in order. A shard is named by a digest of what it follows from (its files'
md5s, the size, the decoder): a run that was interrupted, or that finds a few files changed, decodes only what
is missing.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from couplet import paths
from couplet.errors import UserError
from couplet.files import naming, read_json, write_json
from couplet.images.decode import MAX_BYTES, UnreadableImage, decode_bytes, fingerprint
from couplet.images.store import shard_name
from couplet.manifest import SHARD_STRIDE

SHARD_SIZE = SHARD_STRIDE
# Starting processes costs about as much time as decoding this many bytes of images.
POOL_FROM_BYTES = 128 * 2**20


class RawImage(NamedTuple):
    """A file as the inventory has it: posix path relative to the raw folder, size in bytes, md5."""

    path: str
    size: int
    md5: str


class Outcome(NamedTuple):
    """What became of one image: its place in the store and its original size in pixels, or a reason."""

    shard: int = -1
    row: int = -1
    width: int = 0
    height: int = 0
    reason: str = ""


Shape = tuple[int, int]
Decoded = tuple[np.ndarray, Shape] | str


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
    """

    raw: Path
    images: Sequence[RawImage]
    scratch: Path
    size: int
    channels: int
    shard_size: int

    def run(self) -> Iterator[Outcome]:
        """Make the shards that are not in scratch yet; yield one outcome per image, in order.

        Raises:
            UserError: a file is not the one of the inventory, the disk is too small, or a process was killed.
        """
        self._require_space()
        with _decoder(self) as decode:
            for index, (file, images) in enumerate(self._shards.items()):
                results: Iterable[Shape | str] | None = _finished(file)
                if results is None:
                    results = _write(file, decode(images), (self.channels, self.size, self.size))
                row = 0
                for result in results:
                    if isinstance(result, str):
                        yield Outcome(reason=result)
                    else:
                        yield Outcome(index, row, *result)
                        row += 1

    def link_into(self, folder: Path) -> None:
        """Give the finished shards their names in `folder`, as hard links where the file system allows it."""
        folder.mkdir(parents=True, exist_ok=True)
        for index, file in enumerate(self._shards):
            try:
                (folder / shard_name(index)).hardlink_to(file)
            except OSError:  # another file system, or one without hard links
                shutil.copyfile(file, folder / shard_name(index))

    def forget_others(self) -> None:
        """Remove from scratch what earlier runs on other files left there."""
        keep = {path.with_suffix(suffix) for path in self._shards for suffix in (".npy", ".json")}
        for path in set(self.scratch.iterdir()) - keep:
            path.unlink()

    @cached_property
    def _shards(self) -> dict[Path, Sequence[RawImage]]:
        """File in scratch -> its images."""
        origin = [fingerprint(), self.size, self.channels]
        shards = {}
        for start in range(0, len(self.images), self.shard_size):
            images = self.images[start : start + self.shard_size]
            # `start` keeps two shards apart that hold copies of the same files.
            content = json.dumps([origin, start, [image.md5 for image in images]])
            shards[self.scratch / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.npy"] = images
        return shards

    def _require_space(self) -> None:
        image_bytes = self.channels * self.size**2
        needed = sum(len(images) * image_bytes for file, images in self._shards.items() if not file.exists())
        free = shutil.disk_usage(self.scratch).free
        if needed > free:
            raise UserError(
                f"{self.scratch} has {free / 1e9:.1f} GB left, the store needs {needed / 1e9:.1f} GB more: "
                "free space, lower image.store_size, or set COUPLET_SCRATCH to a folder on a larger disk"
            )


def _write(file: Path, decoded: Iterator[Decoded], shape: tuple[int, int, int]) -> Iterator[Shape | str]:
    """Write one shard image by image; it counts as finished once its JSON is there, with its digest."""
    temporary = file.with_suffix(".tmp")
    results: list[Shape | str] = []
    with naming(file), temporary.open("wb") as shard:
        _write_header(shard, 0, shape)
        body = shard.tell()
        for item in decoded:
            if isinstance(item, str):
                results.append(item)
            else:
                pixels, original = item
                shard.write(pixels.tobytes())
                results.append(original)
            yield results[-1]
        # Only now is it known how many images are readable. NumPy pads headers, so the length stays the same.
        shard.seek(0)
        _write_header(shard, sum(not isinstance(result, str) for result in results), shape)
        if shard.tell() != body:
            raise RuntimeError("the .npy header changed its length")
        shard.flush()
        os.fsync(shard.fileno())
    temporary.replace(file)
    write_json(file.with_suffix(".json"), {"sha256": _sha256(file), "images": results})


def _write_header(file: BinaryIO, n: int, shape: tuple[int, int, int]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (n, *shape)}
    np.lib.format.write_array_header_1_0(file, header)


def _finished(file: Path) -> list[Shape | str] | None:
    """What a finished shard's images became, or None if it is missing, half-written or damaged."""
    if not (file.exists() and file.with_suffix(".json").exists()):
        return None
    try:
        record = read_json(file.with_suffix(".json"))
        images: list[Shape | str] = record["images"]
        return images if record["sha256"] == _sha256(file) else None
    except (UserError, KeyError, TypeError):
        return None


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


# --- decoding in a pool of processes ------------------------------------------------------------------------


@contextmanager
def _decoder(packing: Packing) -> Iterator[Callable[[Iterable[RawImage]], Iterator[Decoded]]]:
    """A map from images to what they decode to, in order, that looks only a few images ahead."""
    decode = partial(_decode_as_listed, packing.raw, packing.size, packing.channels)
    if workers_wanted() == 1 or sum(image.size for image in packing.images) < POOL_FROM_BYTES:
        yield partial(map, decode)
        return
    # Spawned, not forked: the progress bar has a thread, and a forked copy of a lock that it holds never
    # opens.
    pool = ProcessPoolExecutor(workers_wanted(), multiprocessing.get_context("spawn"), _start_worker)
    try:
        yield partial(_map_ahead, pool, decode, 8 * workers_wanted())
    except BrokenProcessPool:
        raise UserError(
            "a decoding process was killed, most likely because memory ran out: set COUPLET_WORKERS to fewer "
            "processes and run `dvc repro` again; the shards that are finished are kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def workers_wanted() -> int:
    """Number of decoding processes: the variable COUPLET_WORKERS, else one per core."""
    wanted = os.environ.get("COUPLET_WORKERS", str(os.cpu_count() or 1))
    if not wanted.isdecimal() or int(wanted) < 1:
        raise UserError(f"COUPLET_WORKERS = {wanted!r} is not allowed: it should be a whole number from 1 on")
    return int(wanted)


def _map_ahead(
    pool: ProcessPoolExecutor,
    decode: Callable[[RawImage], Decoded],
    ahead: int,
    images: Iterable[RawImage],
) -> Iterator[Decoded]:
    # Executor.map would submit all of them and keep whatever is finished early in memory.
    pending: deque[Future[Decoded]] = deque()
    for image in images:
        pending.append(pool.submit(decode, image))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _start_worker() -> None:
    """Leave interrupts to the parent, and end with it, also when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _decode_as_listed(raw: Path, size: int, channels: int, image: RawImage) -> Decoded:
    """Decode one file, or say why not; its bytes are read once, and must be those of the inventory."""
    path = raw / image.path
    if image.size > MAX_BYTES:
        return f"the file has more than {MAX_BYTES} bytes"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): mend or remove the file, then `couplet scan`"
        ) from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != image.md5:
        raise UserError(
            f"{path} changed since {paths.INVENTORY} was written: restore it, or run `couplet scan`"
        )
    try:
        return decode_bytes(content, size, channels)
    except UnreadableImage as error:
        return str(error)
