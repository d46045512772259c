"""What it costs to feed the network: files decoded and augmented one by one, or the store and a batched view."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from benchmarks import given, plain
from benchmarks.harness import Claim, Section, Size, Table, at_least, at_most, interleave, ratio
from couplet.images.loading.draws import epoch_order, image_keys, uniforms
from couplet.images.loading.feed import image_batches
from couplet.images.loading.store import ImageStore, shard_name
from couplet.images.loading.views import (
    ANGLE,
    FLIP,
    LARGEST_STEP,
    N_DRAWS,
    affine_maps,
    crop_boxes,
    evaluation_view,
    jitter_factors,
    training_view,
)
from couplet.settings.schema.augment import AugmentParams

BATCH = 24
AUGMENT = AugmentParams()  # the first paper's
NO_AUGMENT = AugmentParams(scale_min=1.0, ratio_min=1.0, ratio_max=1.0, flip=0.0, rotation=0.0)
CPU = torch.device("cpu")
ONE, TWO = "files, 1 worker", "files, 2 workers"
GREY, ARRAY = "files, grey until the tensor, 1 worker", "memory-mapped array, 1 worker"
ON_CPU, ON_DEVICE = "couplet, all on the CPU", "couplet, view on a device"


SIZES = {"full": given.Sizes(416, 380, 400, 5), "tiny": given.Sizes(72, 64, 30, 1)}


def run(size: Size) -> Section:
    sizes, real = SIZES[size], size == "full" and given.XRAYS.is_dir()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = xrays(folder / "files", sizes, real)
        store = given.pack(files, folder / "store", sizes.store)
        array = np.load(folder / "store" / shard_name(0), mmap_mode="r")[:, 0]
        speed, speed_claims = timed(files, array, store, sizes)
        pixels, pixel_claims = compared(files[:BATCH], store, sizes.view)
    kind = "real X-rays, enlarged" if real else "drawn X-rays"
    notes = [
        f"{len(files)} {kind}; the opponents' files are JPEGs of quality 95. The page cache holds all that is read. "
        "One computing thread per worker, and one for ours.",
        "With the view on a device the CPU is left with reading, draws and crop boxes. That is what was measured: the "
        "copy to the device and starting its kernels are not in it.",
        "Grey until the tensor: a careful user resamples one channel and not three equal ones.",
    ]
    title = f"Training input: {sizes.view} px views of {sizes.store} px images, batches of {BATCH}"
    return Section(title, [speed, pixels], speed_claims + pixel_claims, notes)


def xrays(folder: Path, sizes: given.Sizes, real: bool) -> list[Path]:
    """JPEG files of the stored size, as a user would have resized them beforehand."""
    if not real:
        return given.drawn_xrays(folder, sizes.n_drawn, sizes.store)
    side = (sizes.store, sizes.store)
    originals = (Image.open(file).convert("L") for file in sorted(given.XRAYS.iterdir()))
    return given.saved((image.resize(side, Image.Resampling.BILINEAR) for image in originals), folder)


# --- speed --------------------------------------------------------------------------------------------------


def timed(
    files: list[Path], array: np.ndarray, store: ImageStore, sizes: given.Sizes
) -> tuple[Table, list[Claim]]:
    n, order = len(files), epoch_order(len(files), seed=0, fold=0, epoch=0)
    labels, transform = given.random_labels(n), plain.training_transforms(sizes.view)
    decoded = plain.Images(files, labels, transform)
    grey, mapped = plain.Images(files, labels, transform, mode="L"), plain.Images(array, labels, transform)
    samples = interleave(
        {
            ONE: partial(loaded, plain.loader(decoded, BATCH, workers=1)),
            TWO: partial(loaded, plain.loader(decoded, BATCH, workers=2)),
            GREY: partial(loaded, plain.loader(grey, BATCH, workers=1)),
            ARRAY: partial(loaded, plain.loader(mapped, BATCH, workers=1)),
            ON_CPU: partial(viewed, store, order, sizes.view),
            ON_DEVICE: partial(read_and_drawn, store, order, sizes.view),
        },
        sizes.rounds,
    )
    assert all(sample.result == n for sample in samples.values())
    columns = ["", "images/s", "CPU ms per image", "images/s per core", "times less CPU than the first"]
    rows: list[list[str | float | int]] = [
        [name, n / s.median(), 1000 * s.median("cpu") / n, n / s.median("cpu"), ratio(samples[ONE], s, "cpu")]
        for name, s in samples.items()
    ]
    claims = [
        at_least(
            f"training input, {ours.removeprefix('couplet, ')}: less CPU time per image than the per-item pipeline",
            min(ratio(samples[opponent], samples[ours], "cpu") for opponent in (ONE, TWO)),
            promised,
        )
        for ours, promised in ((ON_DEVICE, 10), (ON_CPU, 2))
    ]
    return Table("One pass over all images", columns, rows), claims


def loaded(batches: Iterable[list[Tensor]]) -> int:
    return sum(len(images) for images, _ in batches)


def viewed(store: ImageStore, order: np.ndarray, side: int) -> int:
    """Ours on a CPU: read a batch, then augment and normalise all of it."""
    keys, done = image_keys(map(str, order)), 0
    for stored in image_batches(store, order, BATCH, CPU):
        draws = uniforms(keys[done : done + BATCH], 0, 0, 0, N_DRAWS)
        done += len(training_view(stored, draws, side, AUGMENT, plain.MEAN, plain.STD))
    return done


def read_and_drawn(store: ImageStore, order: np.ndarray, side: int) -> int:
    """What `viewed` leaves to the CPU where the view runs on a device."""
    keys, done, stored_side = image_keys(map(str, order)), 0, min(store.size, int(LARGEST_STEP * side))
    for stored in image_batches(store, order, BATCH, CPU):
        draws = uniforms(keys[done : done + BATCH], 0, 0, 0, N_DRAWS)
        flips = np.where(draws[:, FLIP] < AUGMENT.flip, -1.0, 1.0)
        angles = np.deg2rad((2 * draws[:, ANGLE] - 1) * AUGMENT.rotation)
        affine_maps(
            crop_boxes(draws, stored_side, side, AUGMENT),
            flips,
            angles,
            stored_side,
            np.zeros((len(draws), 2)),
        )
        jitter_factors(draws, AUGMENT)
        done += len(stored)
    return done


# --- pixels -------------------------------------------------------------------------------------------------


def compared(files: list[Path], store: ImageStore, side: int) -> tuple[Table, list[Claim]]:
    """How far apart the two are without augmentation, in grey levels."""
    stored = torch.from_numpy(store.read(np.arange(len(files))))
    draws = uniforms(image_keys(map(str, files)), 0, 0, 0, N_DRAWS)
    resize = v2.RandomResizedCrop(side, scale=(1, 1), ratio=(1, 1))
    labels = given.random_labels(len(files))
    theirs = plain.Images(files, labels, v2.Compose([resize, *plain.to_tensor()]))
    resized = torch.stack([image for image, _ in (theirs[index] for index in range(len(theirs)))])
    opened = np.stack([np.asarray(Image.open(file).convert("L")) for file in files])[:, None]
    grey_levels = 255 * torch.tensor(plain.STD)[:, None, None]
    gaps = {
        "as stored": (stored.float() - torch.from_numpy(opened)).abs(),
        "evaluation view": (evaluation_view(stored, side, plain.MEAN, plain.STD) - resized).abs()
        * grey_levels,
        "training view with nothing to draw": grey_levels
        * (training_view(stored, draws, side, NO_AUGMENT, plain.MEAN, plain.STD) - resized).abs(),
    }
    rows: list[list[str | float | int]] = [
        [name, gap.max().item(), gap.mean().item()] for name, gap in gaps.items()
    ]
    largest = gaps["evaluation view"].max().item()
    claims = [
        at_most(
            "evaluation view against torchvision's resize, largest difference", largest, 1.01, " grey levels"
        )
    ]
    return Table(
        "Difference to the per-item pipeline in grey levels, without augmentation",
        ["", "largest", "mean"],
        rows,
    ), claims
