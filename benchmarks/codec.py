"""codec: the store as raw pixels and as JPEG: space, pixels, reading. What JPEG does to the AUC is in codec_auc."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from benchmarks.harness import (
    REAL_DATA,
    Samples,
    Section,
    Size,
    Table,
    at_most,
    interleave,
    ratio,
)
from couplet.images.codec import decode_jpeg, encode, shard_name
from couplet.images.decoding.decode import decode
from couplet.images.decoding.packing import Packing, RawImage
from couplet.images.loading.store import ImageStore
from couplet.phantom.drawing import draw_image
from couplet.results.manifest import SHARD_STRIDE
from couplet.settings.schema.image import Codec
from tests.support.stores import write_store

XRAYS = REAL_DATA / "nih_cxr14" / "originals_1024"
PHOTOGRAPHS = REAL_DATA / "coco" / "train2017"
CODECS: tuple[Codec, Codec] = ("raw", "jpeg")
GREY, COLOUR = "X-rays", "photographs"
SIDES: dict[Size, dict[str, int]] = {  # image.store_size of the presets for X-rays and for MS-COCO
    "full": {GREY: 416, COLOUR: 512},
    "tiny": {GREY: 160, COLOUR: 64},
}
DATA_SETS = {
    "Grand X-Ray SLAM, division B: training images": (GREY, 108_494),
    "Grand X-Ray SLAM, division B: with the test images": (GREY, 108_494 + 47_927),
    "NIH ChestX-ray14": (GREY, 112_120),
    "MS-COCO 2014": (COLOUR, 82_081 + 40_137),
}
STORED = {"full": 1920, "tiny": 16}  # images to read: the pictures in turn
RAW_STORES = {"full": [(416, 4096), (72, 4096)], "tiny": [(32, 50)]}  # side, images: one shard
BATCH, BATCHES = 24, {"full": (24, 256), "tiny": (24,)}
COLD, FIRST, AGAIN = STATES = ("from disk", "in memory, first pass", "in memory, later")
ROUNDS = {"full": 5, "tiny": 1}
GPU_RATE = 953  # images/s: more than seresnext101 at 380 can take on a GPU with 3.35 TB/s
NOTES = [
    "X-rays: the 48 originals of 1024 px as `prepare` stores them at 416 px, grey; photographs: 70 of MS-COCO, in "
    "colour at 512 px. JPEG has quality 95, colours in full resolution. Whole data sets follow from the mean size.",
    "Reads go through `ImageStore.read`, in random order, 24 at a time, from files in memory.",
    "Memory map: how the store read its shards before, here as the opponent. From disk: the kernel was asked to forget "
    "the file before each pass. First pass: a new map, as each process begins. Later the map is faster, by "
    "microseconds, but its pages count as the process's memory, which grows with the store, and a file that is cut "
    "short ends the process with a signal.",
    f"The {GPU_RATE} images/s of a GPU are computed (seresnext101 at 380, bound by 3.35 TB/s), not measured.",
]
Row = list[str | float | int]


def run(size: Size) -> Section:
    if size == "full" and not XRAYS.is_dir():
        return Section("codec", notes=["Not measured: the real originals are not beside this checkout."])
    kinds = pictures(size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        space, sizes = space_table(kinds)
        reading = reading_table(kinds[GREY], folder, size)
        raw_cores, jpeg_cores = (float(row[-1]) for row in reading.rows[:2])
        tables = [
            space,
            sizes,
            reading,
            raw_table(folder, size),
            prepare_table(kinds[GREY], folder, size),
        ]
        claims = [
            at_most("JPEG store of division B, 156,421 images of 416 px", float(sizes.rows[1][2]), 9, " GB"),
            at_most(f"JPEGs decoded at a GPU's {GPU_RATE} images/s", jpeg_cores, 1, " cores"),
            at_most(f"raw images of 416 px read at a GPU's {GPU_RATE} images/s", raw_cores, 0.05, " cores"),
        ]
    return Section("codec", tables, claims, NOTES)


def pictures(size: Size) -> dict[str, list[np.ndarray]]:
    """Kind -> uint8 (C, S, S) as `prepare` would store them."""
    grey, colour = SIDES[size][GREY], SIDES[size][COLOUR]
    if size == "full":
        photographs = sorted(PHOTOGRAPHS.glob("*.jpg"))
        return {
            GREY: [decode(path, grey, 1)[0] for path in sorted(XRAYS.glob("*.png"))],
            COLOUR: [decode(path, colour, 3)[0] for path in photographs],
        }
    drawn = [Image.fromarray(draw_image(frozenset(), "PA", seed, 2 * grey)) for seed in range(4)]
    small = [np.asarray(picture.resize((grey, grey), Image.Resampling.BILINEAR)) for picture in drawn]
    return {GREY: [pixels[None] for pixels in small], COLOUR: [np.stack(small[:3])[:, :colour, :colour]]}


# --- space and pixels ---------------------------------------------------------------------------------------


def space_table(kinds: dict[str, list[np.ndarray]]) -> tuple[Table, Table]:
    rows: list[Row] = []
    bytes_of = {}
    for kind, images in kinds.items():
        streams = [encode(pixels, "jpeg") for pixels in images]
        error = np.abs(np.array(list(map(decoded, streams, images)), int) - np.array(images))
        raw, jpeg = images[0].nbytes, sum(map(len, streams)) / len(streams)
        rows.append([kind, len(images), raw / 1e3, jpeg / 1e3, jpeg / raw, int(error.max()), error.mean()])
        bytes_of[kind] = raw, jpeg
    columns = ["images", "number", "raw kB", "JPEG kB", "share", "largest error", "mean error"]
    stores: list[Row] = [
        [f"{name} ({n:,})", *(n * size / 1e9 for size in bytes_of[kind])]
        for name, (kind, n) in DATA_SETS.items()
    ]
    return (
        Table("Space of an image, and error in grey levels", columns, rows),
        Table("The store, GB", ["data set", "raw", "JPEG"], stores),
    )


def decoded(stream: bytes, like: np.ndarray) -> np.ndarray:
    pixels = np.empty_like(like)
    decode_jpeg(stream, pixels)
    return pixels


# --- reading ------------------------------------------------------------------------------------------------


def read_all(read: Callable[[np.ndarray], np.ndarray], n: int, batch: int, workers: int = 1) -> None:
    """Read a store once, in random order."""
    order = np.random.default_rng(0).permutation(n)
    with patch.dict(os.environ, COUPLET_WORKERS=str(workers)):
        for start in range(0, n, batch):
            read(order[start : start + batch])


def reading_table(images: list[np.ndarray], folder: Path, size: Size) -> Table:
    n = STORED[size]
    raw, jpeg = (write_store(folder / codec, islice(cycle(images), n), codec) for codec in CODECS)
    with patch.dict(os.environ, COUPLET_WORKERS="2"):
        jpeg.read(np.arange(2))  # starts its threads
    samples = interleave(
        {
            "raw": partial(read_all, raw.read, n, BATCH),
            "JPEG, 1 thread": partial(read_all, jpeg.read, n, BATCH),
            "JPEG, 2 threads": partial(read_all, jpeg.read, n, BATCH, 2),
        },
        ROUNDS[size],
    )
    rows: list[Row] = []
    for name, sample in samples.items():
        cpu = sample.median("cpu") / n
        rows.append([name, n / sample.median(), 1000 * cpu, GPU_RATE * cpu])
    columns = ["store", "images/s", "CPU ms/image", f"cores at {GPU_RATE} images/s"]
    return Table(f"Reading X-rays of {raw.size} px", columns, rows)


class MemoryMap:
    """How the store read its one shard before."""

    def __init__(self, folder: Path) -> None:
        self.shard = np.load(folder / shard_name(0), mmap_mode="r").view(np.ndarray)

    def read(self, positions: np.ndarray) -> np.ndarray:
        images = np.empty((len(positions), *self.shard.shape[1:]), dtype=np.uint8)
        for i in np.argsort(positions, kind="stable"):
            images[i] = self.shard[positions[i]]
        return images


def raw_table(folder: Path, size: Size) -> Table:
    rows: list[Row] = []
    for side, n in RAW_STORES[size]:
        place = folder / f"raw_{side}"
        plain = (np.full((1, side, side), value % 256, np.uint8) for value in range(n))
        write_store(place, plain)
        for state in STATES:
            for batch in BATCHES[size]:
                slow, fast = map_against_place(place, n, batch, state, ROUNDS[size])
                micros = [1e6 * sample.median("cpu") / n for sample in (slow, fast)]
                speeds = [n / slow.median(), n / fast.median(), ratio(slow, fast), *micros]
                rows.append([f"{side} px, {state}", batch, *speeds])
    columns = ["raw shard", "batch", "map images/s", "by place images/s", "ratio"]
    columns += ["map CPU us/image", "by place CPU us/image"]
    return Table("Reading by place, against the memory map", columns, rows)


def map_against_place(place: Path, n: int, batch: int, state: str, rounds: int) -> tuple[Samples, Samples]:
    kept, store = MemoryMap(place), ImageStore(place)
    forgetting = partial(forget, place / shard_name(0))
    ways: dict[str, Callable[[], None]] = {
        "forget": forgetting,
        "map": lambda: read_all((kept if state == AGAIN else MemoryMap(place)).read, n, batch),
        "forget again": forgetting,
        "by place": lambda: read_all(store.read, n, batch),
    }
    samples = interleave(
        ways if state == COLD else {name: ways[name] for name in ("map", "by place")}, rounds
    )
    return samples["map"], samples["by place"]


def forget(path: Path) -> None:
    """Drop a file from the kernel's cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# --- prepare ------------------------------------------------------------------------------------------------


def prepare_table(images: list[np.ndarray], folder: Path, size: Size) -> Table:
    raw = XRAYS
    if size == "tiny":
        raw = folder / "pictures"
        raw.mkdir()
        for number, pixels in enumerate(images):
            Image.fromarray(pixels[0]).save(raw / f"{number}.png")
    contents = {path.name: path.read_bytes() for path in sorted(raw.glob("*.png"))}
    files = [RawImage(name, len(data), hashlib.md5(data).hexdigest()) for name, data in contents.items()]

    def pack(codec: Codec) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            packing = Packing(raw, files, Path(scratch), images[0].shape[-1], 1, SHARD_STRIDE, codec)
            assert not any(outcome.reason for outcome in packing.run())

    samples = interleave({codec: partial(pack, codec) for codec in CODECS}, ROUNDS[size])
    rows: list[Row] = [[codec, 1000 * s.median("cpu") / len(files)] for codec, s in samples.items()]
    return Table("prepare, PNGs of 1024 px, one process", ["codec", "CPU ms/image"], rows)
