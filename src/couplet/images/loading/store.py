"""The packed store: all prepared images, in shards of up to 4,096, read by position.

What lies in data/prepared is in `couplet.images.codec`; `couplet.images.decoding.packing` makes it; manifest.csv says
which image stands where.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from couplet.images.codec import FILES, shard_name, workers_wanted
from couplet.images.loading.shards import open_shard
from couplet.project.errors import UserError
from couplet.project.files import RESTORE, read_record
from couplet.project.project import HERE
from couplet.results.manifest import SHARD_STRIDE, store_positions
from couplet.results.tables import read_table

__all__ = ["ImageStore", "shard_name"]

# From here on decoding in threads is worth handing images to them; most of the work on smaller ones is Python's.
THREADS_FROM_PIXELS = 128**2

Place = tuple[int, int, int]  # in the result, shard, row


class ImageStore:
    """All prepared images, read by position, whatever image.codec they were written with.

    A position is `shard * SHARD_STRIDE + row`, with shard and row from manifest.csv (`Manifest.positions`).
    Shards are opened read-only and never unpickled. Reading from several threads or after a fork is safe; a
    pickled store opens its files again.

    Args:
        folder: data/prepared, or any folder with shards, manifest.csv and labels.json.

    Attributes:
        n_images: number of images N in all shards.
        channels: C, 1 or 3.
        size: side S of every image, in pixels.

    Raises:
        UserError: a shard is missing, truncated, or of another shape than the tables beside it say.
    """

    def __init__(self, folder: Path = HERE.prepared) -> None:
        labels, manifest = folder / HERE.labels.name, folder / HERE.manifest.name
        layout = read_record(labels, image=dict)["image"]
        self.channels: int = layout.get("channels", 0)
        self.size: int = layout.get("store_size", 0)
        codec = layout.get("codec", "raw")
        if codec not in FILES:
            raise UserError(f"{labels}: image.codec is {codec!r}, not {' or '.join(FILES)}: {RESTORE}")
        positions = store_positions(read_table(manifest, required=("shard", "row")), manifest)
        self._sizes = np.bincount(positions // SHARD_STRIDE)
        if not self._known(positions).all():
            raise UserError(f"{manifest}: its rows do not number the images of a shard: {RESTORE}")
        self._shards = [
            open_shard(folder, index, codec, n, (self.channels, self.size, self.size))
            for index, n in enumerate(self._sizes.tolist())
        ]
        self.n_images = len(positions)
        self._folder = folder
        self._threaded = codec != "raw" and self.size**2 >= THREADS_FROM_PIXELS
        self._threads: ThreadPoolExecutor | None = None
        self._process = 0  # that the threads belong to

    def __reduce__(self) -> tuple[type[ImageStore], tuple[Path]]:
        return type(self), (self._folder,)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Copy images out of the shards.

        Args:
            positions: (B,) whole numbers, in any order, repeats allowed.

        Returns:
            uint8 (B, C, S, S), in the order of `positions`.

        Raises:
            IndexError: there is no image at a position.
            UserError: a file was damaged or cut short after it was opened.
        """
        positions = np.asarray(positions, dtype=np.int64)
        known = self._known(positions)
        if not known.all():
            raise IndexError(f"there is no image at position {positions[~known][0]}")
        images = np.empty((len(positions), self.channels, self.size, self.size), dtype=np.uint8)
        # In the order of the file, so that a cold disk reads forward.
        order = np.argsort(positions, kind="stable")
        shards, rows = np.divmod(positions[order], SHARD_STRIDE)
        places = list(zip(order.tolist(), shards.tolist(), rows.tolist(), strict=True))
        for _, shard, row in places:
            self._shards[shard].announce(row)
        workers = workers_wanted() if self._threaded and len(places) > 1 else 1
        if workers == 1:
            self._fill(images, places)
        else:
            parts = (places[start::workers] for start in range(workers))
            # list: raises what they raise.
            list(self._pool().map(lambda part: self._fill(images, part), parts))
        return images

    def _fill(self, images: np.ndarray, places: Iterable[Place]) -> None:
        for i, shard, row in places:
            self._shards[shard].read_into(row, images[i])

    def _pool(self) -> ThreadPoolExecutor:
        """Threads of this process: a fork takes none along. They end when the store is forgotten."""
        if self._threads is None or self._process != os.getpid():
            self._threads, self._process = ThreadPoolExecutor(workers_wanted(), "decode"), os.getpid()
        return self._threads

    def _known(self, positions: np.ndarray) -> np.ndarray:
        """(B,) whether there is an image at each position."""
        shards, rows = np.divmod(positions, SHARD_STRIDE)
        inside = (shards >= 0) & (shards < len(self._sizes))
        return inside & (rows < self._sizes.take(shards, mode="clip"))
