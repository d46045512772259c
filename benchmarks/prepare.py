"""prepare: files of X-rays to small grey arrays, the usual PIL loop against the stage's own packing.

Large JPEGs are made from real originals: enlarged, with the grain of a detector, stored grey and stored as RGB.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from benchmarks.harness import REAL_DATA, Section, Size, Table, at_least, at_most, interleave, ratio
from couplet.images.decoding import packing
from couplet.images.decoding.decode import decode_bytes
from couplet.images.decoding.packing import Packing, RawImage
from couplet.phantom.drawing import draw_image

ORIGINALS = REAL_DATA / "nih_cxr14" / "originals_1024"
LARGE = {"full": (2000, 2500), "tiny": (200, 250)}  # width, height
SIDE = {"full": 416, "tiny": 40}  # 416: image.store_size of the presets for X-rays
ROUNDS = {"full": 5, "tiny": 1}
LISTED = {"full": 2, "tiny": 1}  # how often each file, for two workers
QUALITY, GRAIN = 90, 2.0  # grain: standard deviation in grey levels
GREY, RGB, PNG = "large JPEG, grey", "large JPEG, stored as RGB", "1024 px PNG"
SPEED = ["files", "what", "images", "PIL images/s", "ours images/s", "ratio"]
SPEED += ["PIL CPU ms/image", "ours CPU ms/image", "CPU ratio"]
PIXELS = ["files", "largest", "mean", "share of pixels above 3"]
PARTS = ["bits/pixel", "PIL", "ours", "at 1/8", "from 1/8 to 1/2", "resize", "md5", "PIL / ours"]
NOTES = [
    "PIL: open, convert to RGB, resize (bilinear, antialiased) to 416 x 416, save as .npy. Ours is the stage's: read, "
    "compare the md5 with the inventory's, decode, write the shard and its digest through to the disk. `decode`: both "
    f"without files. Large JPEGs: 2000 x 2500, quality {QUALITY}, enlarged (Lanczos) from 1024 px, with grain of "
    f"{GRAIN:g} grey levels; as RGB they have three equal channels at PIL's default, colour in half resolution.",
    f"Two workers: each file is listed {LISTED['full']} times. PIL's are forked processes, ours threads; starting and "
    "ending them counts.",
    "Differences: all pixels of all files, against PIL's RGB result made grey. They come from decoding at half scale: "
    "beside burnt-in letters the JPEG's ripples are cut off at black and white before they average out.",
    "The limit: Huffman decoding (decoding at 1/8 is little else) and the md5, which grow with a file's bytes.",
]


def run(size: Size) -> Section:
    if size == "full" and not ORIGINALS.is_dir():
        return Section("prepare", notes=["Not measured: the real originals are not beside this checkout."])
    with tempfile.TemporaryDirectory() as made:
        folders = make_files(Path(made), size)
        speed = Table("Speed", SPEED, [row for kind in folders for row in speeds(kind, folders[kind], size)])
        pixels = Table("Difference from PIL, grey levels", PIXELS, differences(folders, SIDE[size]))
    parts = Table("Where it goes, CPU ms per large JPEG stored as RGB", PARTS, where_it_goes(size))
    ratios = {row[0]: float(row[-1]) for row in speed.rows if row[1] == "1 worker"}
    largest, mean = (max(float(row[column]) for row in pixels.rows) for column in (1, 2))
    claims = [
        at_least("prepare, large grey JPEGs: images per CPU second against PIL", ratios[GREY], 2),
        at_least("prepare, large JPEGs stored as RGB: images per CPU second against PIL", ratios[RGB], 3),
        at_most("prepare: largest difference from PIL", largest, 3, " grey levels"),
        at_most("prepare: mean difference from PIL", mean, 0.3, " grey levels"),
    ]
    return Section("prepare", [speed, pixels, parts], claims, NOTES)


def make_files(folder: Path, size: Size) -> dict[str, Path]:
    """Kind of file -> the folder of its files."""
    folders = {kind: folder / str(number) for number, kind in enumerate((GREY, RGB, PNG))}
    for place in folders.values():
        place.mkdir()
    for number, original in enumerate(originals(size)):
        picture = enlarged(original, GRAIN, number, size)
        (folders[GREY] / f"{number:02d}.jpg").write_bytes(jpeg(picture))
        (folders[RGB] / f"{number:02d}.jpg").write_bytes(jpeg(picture.convert("RGB")))
        original.save(folders[PNG] / f"{number:02d}.png")
    return folders if size == "tiny" else folders | {PNG: ORIGINALS}


def originals(size: Size) -> list[Image.Image]:
    if size == "tiny":
        return [Image.fromarray(draw_image(frozenset(), "PA", seed)) for seed in range(4)]
    return [Image.open(path).convert("L") for path in sorted(ORIGINALS.glob("*.png"))]


def enlarged(original: Image.Image, grain: float, seed: int, size: Size) -> Image.Image:
    pixels = np.asarray(original.resize(LARGE[size], Image.Resampling.LANCZOS), np.float32)
    noise = np.random.default_rng(seed).standard_normal(pixels.shape, np.float32)
    return Image.fromarray(np.rint(pixels + grain * noise).clip(0, 255).astype(np.uint8))


def jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def pil_pixels(file: Path | io.BytesIO, side: int) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def pil_one(path: Path, out: Path, side: int) -> None:
    np.save(out / f"{path.stem}.npy", pil_pixels(path, side))


def pil_loop(folder: Path, workers: int, images: list[RawImage], side: int) -> None:
    paths = [folder / image.path for image in images]
    with tempfile.TemporaryDirectory() as out:
        one = partial(pil_one, out=Path(out), side=side)
        if workers == 1:
            list(map(one, paths))
        else:
            with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
                list(pool.map(one, paths, chunksize=8))


def pack(folder: Path, workers: int, images: list[RawImage], side: int) -> np.ndarray:
    """The shard (N, 1, S, S) that the stage makes of these files."""
    wanted = patch.dict(os.environ, COUPLET_WORKERS=str(workers))
    with tempfile.TemporaryDirectory() as scratch, wanted:
        packed = Packing(folder, images, Path(scratch), side, 1, packing.SHARD_SIZE).run()
        assert not any(outcome.reason for outcome in packed)
        (shard,) = Path(scratch).glob("*.npy")
        return np.load(shard)


def inventory(folder: Path) -> list[RawImage]:
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return [RawImage(name, len(data), hashlib.md5(data).hexdigest()) for name, data in contents.items()]


def pil_decode(data: list[bytes], side: int) -> None:
    for content in data:
        pil_pixels(io.BytesIO(content), side)


def our_decode(data: list[bytes], side: int) -> None:
    for content in data:
        decode_bytes(content, side, 1)


def decode_at(width: int, data: list[bytes]) -> None:
    for content in data:
        with Image.open(io.BytesIO(content)) as image:
            image.draft("L", (width, width))
            image.load()


def speeds(kind: str, folder: Path, size: Size) -> list[list[Any]]:
    rows, images = [], inventory(folder)
    data = [(folder / image.path).read_bytes() for image in images]
    ways: dict[str, tuple[list[Any], Callable[..., object], Callable[..., object]]] = {
        "decode": (data, pil_decode, our_decode),
        "1 worker": (images, partial(pil_loop, folder, 1), partial(pack, folder, 1)),
        "2 workers": (LISTED[size] * images, partial(pil_loop, folder, 2), partial(pack, folder, 2)),
    }
    for name, (items, pil, ours) in ways.items():
        contenders = {"PIL": partial(pil, items, SIDE[size]), "ours": partial(ours, items, SIDE[size])}
        samples = interleave(contenders, ROUNDS[size])
        slow, fast, n = samples["PIL"], samples["ours"], len(items)
        rows.append([kind, name, n, n / slow.median(), n / fast.median(), ratio(slow, fast)])
        rows[-1] += [1000 * x.median("cpu") / n for x in (slow, fast)] + [ratio(slow, fast, "cpu")]
    return rows


def differences(folders: dict[str, Path], side: int) -> list[list[Any]]:
    rows = []
    for kind, folder in folders.items():
        images = inventory(folder)
        wanted = [Image.fromarray(pil_pixels(folder / image.path, side)).convert("L") for image in images]
        off = np.abs(np.array([np.asarray(x) for x in wanted], int) - pack(folder, 1, images, side)[:, 0])
        rows.append([kind, int(off.max()), float(off.mean()), float((off > 3).mean())])
    return rows


def where_it_goes(size: Size) -> list[list[Any]]:
    """The whole, and the steps of ours, for files of fewer and of more bytes."""
    rows, (width, height) = [], LARGE[size]
    steps: dict[str, Callable[[list[bytes]], object]] = {
        "PIL": partial(pil_decode, side=SIDE[size]),
        "ours": partial(our_decode, side=SIDE[size]),
        "half": partial(decode_at, width // 2),
        "eighth": partial(decode_at, width // 8),
        "md5": lambda data: [hashlib.md5(content) for content in data],
    }
    for grain in (0, GRAIN, 2 * GRAIN):
        data = [jpeg(enlarged(x, grain, n, size).convert("RGB")) for n, x in enumerate(originals(size)[:12])]
        samples = interleave({name: partial(step, data) for name, step in steps.items()}, ROUNDS[size])
        ms = {name: 1000 * sample.median("cpu") / len(data) for name, sample in samples.items()}
        bits, ours = 8 * sum(map(len, data)) / len(data) / (width * height), ms["ours"] + ms["md5"]
        parts = [ms["eighth"], ms["half"] - ms["eighth"], ms["ours"] - ms["half"], ms["md5"]]
        rows.append([bits, ms["PIL"], ours, *parts, ms["PIL"] / ours])
    return rows
