"""The packed store: uint8 shards of up to 4,096 images, read memory-mapped and read-only.

    data/prepared/images-00000.npy   uint8 (n, C, S, S)

`couplet.images.packing` makes the shards; manifest.csv says which image stands where.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from couplet import paths
from couplet.errors import UserError
from couplet.files import RESTORE, read_record
from couplet.manifest import SHARD_STRIDE, read_table, store_positions


def shard_name(index: int) -> str:
    """File name of a shard.

    >>> shard_name(3)
    'images-00003.npy'
    """
    return f"images-{index:05d}.npy"


class ImageStore:
    """All prepared images, read by position.

    A position is `shard * SHARD_STRIDE + row`, with shard and row from manifest.csv (`Manifest.positions`).
    Shards are opened read-only and never unpickled. Reading from several threads at once is safe.

    Args:
        folder: data/prepared, or any folder with shards, manifest.csv and labels.json.

    Attributes:
        n_images: number of images N in all shards.
        channels: C, 1 or 3.
        size: side S of every image, in pixels.

    Raises:
        UserError: a shard is missing, truncated, or of another shape than the tables beside it say.
    """

    def __init__(self, folder: Path = paths.PREPARED) -> None:
        layout = read_record(folder / paths.LABELS.name, image=dict)["image"]
        self.channels: int = layout.get("channels", 0)
        self.size: int = layout.get("store_size", 0)
        manifest = folder / paths.MANIFEST.name
        positions = store_positions(read_table(manifest, required=("shard", "row")), manifest)
        sizes = np.bincount(positions // SHARD_STRIDE)
        if (positions % SHARD_STRIDE >= sizes[positions // SHARD_STRIDE]).any():
            raise UserError(f"{manifest}: its rows do not number the images of a shard: {RESTORE}")
        self._shards = [
            _open(folder / shard_name(index), (int(n), self.channels, self.size, self.size))
            for index, n in enumerate(sizes)
        ]
        self.n_images = len(positions)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Copy images out of the shards.

        Args:
            positions: (B,) whole numbers, in any order, repeats allowed.

        Returns:
            uint8 (B, C, S, S), in the order of `positions`.

        Raises:
            IndexError: there is no image at a position.
        """
        positions = np.asarray(positions, dtype=np.int64)
        if (positions < 0).any():
            raise IndexError(f"position {positions.min()} is negative")
        images = np.empty((len(positions), self.channels, self.size, self.size), dtype=np.uint8)
        # In the order of the file, so that a cold disk reads forward.
        for i in np.argsort(positions, kind="stable"):
            shard, row = divmod(int(positions[i]), SHARD_STRIDE)
            images[i] = self._shards[shard][row]
        return images


def _open(path: Path, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Map a shard into memory; as a plain array, because memmap objects are slow to index."""
    remedy = f"restore it with `dvc checkout {path.parent}`, or make it again with `dvc repro -f prepare`"
    try:
        shard = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path} is not there: {remedy}") from None
    except (ValueError, EOFError):
        raise UserError(f"{path} is truncated or damaged: {remedy}") from None
    if not isinstance(shard, np.ndarray) or shard.dtype != np.uint8 or shard.shape != shape:
        found = f"{shard.dtype} {shard.shape}" if isinstance(shard, np.ndarray) else "no array"
        raise UserError(f"{path} holds {found}, not uint8 {shape} as {paths.MANIFEST.name} says: {remedy}")
    return shard.view(np.ndarray)
