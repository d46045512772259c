"""On a GPU: whether the feed keeps up with the step, the memory it takes, and the share of the chip it uses."""

from __future__ import annotations

import io
import os
import tempfile
import time
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import given
from benchmarks.harness import (
    Claim,
    Samples,
    Section,
    Size,
    Table,
    at_least,
    at_most,
    figure,
    interleave,
    not_measured,
    ratio,
)
from couplet.images.loading.feed import image_batches
from couplet.models.device import resolve_precision
from couplet.settings.params import Params
from couplet.training.loop import Trainer

TITLE = "Training on a GPU: seresnext101_32x4d at 380, batches of 24"
FEED = "training on a GPU: speed end to end, against the same step on data that is on the device"
MEMORY = "training on a GPU: peak memory at 380, batch 24, AMP"
SHARE = "training on a GPU: share of the chip's peak, which is a large matrix product's"
PROMISES = {FEED: "at least 95 %", MEMORY: "at most 12 GB", SHARE: "none"}
NO_GPU = "no CUDA device here"
END_TO_END, RESIDENT = "end to end", "data on the device"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Sizes:
    """Steps of an epoch, side of the matrices that are multiplied, rounds."""

    steps: int
    matrix: int
    rounds: int


SIZES = {"full": Sizes(100, 8192, 5), "tiny": Sizes(3, 64, 1)}


def run(size: Size) -> Section:
    # As couplet.running.launch does, before CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if size == "tiny":
        thin = given.settings("phantom", image={"size": 32, "store_size": 36}, train={"batch_size": 4})
        return measured(torch.device("cpu"), thin, SIZES[size])
    if torch.cuda.is_available():
        return measured(torch.device("cuda"), given.settings("paper"), SIZES[size])
    return Section(TITLE, claims=[not_measured(what, promise, NO_GPU) for what, promise in PROMISES.items()])


def measured(device: torch.device, params: Params, sizes: Sizes) -> Section:
    """The same on any device, but for the memory, which only a GPU counts."""
    precision = resolve_precision("auto", device)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        trainer = random_trainer(device, params, precision, sizes.steps, Path(folder) / "store")
        memory = peak_memory(trainer, Path(folder))
        samples = timed(trainer, sizes.rounds, Path(folder))
    peak = matrix_speed(device, DTYPES[precision], sizes.matrix)
    flops = training_flops(trainer.predictor.backbone, params.image.size)
    speeds = speed_table(samples, sizes.steps * params.train.batch_size, flops, peak)
    share = f"{figure(speeds.rows[0][-1])} % of {figure(peak / 1e12)} TFLOP/s"
    claims = [
        at_least(FEED, 100 * ratio(samples[RESIDENT], samples[END_TO_END]), 95, " %"),
        at_most(MEMORY, memory["reserved"], 12, " GB")
        if memory
        else not_measured(MEMORY, PROMISES[MEMORY], NO_GPU),
        Claim(SHARE, share, PROMISES[SHARE], None),
    ]
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"
    notes = [
        f"On {chip}, in {precision}; {sizes.steps} steps of {params.train.batch_size} random images per measurement.",
        f"The peak is the fastest product of two {sizes.matrix} x {sizes.matrix} matrices in {precision}. A training "
        "step counts as three forward passes: torch's count of backward passes takes grouped convolutions for dense.",
    ]
    tables = [speeds]
    if memory:
        tables.append(
            Table("Peak memory of the allocator", ["", "GB"], [[key, value] for key, value in memory.items()])
        )
    return Section(TITLE, tables, claims, notes)


def random_trainer(device: torch.device, params: Params, precision: str, steps: int, folder: Path) -> Trainer:
    data = given.random_fold(steps * params.train.batch_size, params.image.store_size, folder)
    predictor = given.predictor_of(params, data.train_truth)
    predictor.to(device).to(memory_format=torch.channels_last)
    return Trainer(predictor, params, 0, data, precision)


def peak_memory(trainer: Trainer, folder: Path) -> dict[str, float]:
    """GB at most during an epoch, in tensors and reserved for them; nothing on a CPU."""
    if trainer.device.type != "cuda":
        return {}
    torch.cuda.reset_peak_memory_stats(trainer.device)
    synchronised_epoch(trainer, folder)
    return {
        "in tensors": torch.cuda.max_memory_allocated(trainer.device) / 1e9,
        "reserved": torch.cuda.max_memory_reserved(trainer.device) / 1e9,
    }


def timed(trainer: Trainer, rounds: int, folder: Path) -> dict[str, Samples]:
    """Epochs from the store and, in turn, epochs whose batches are on the device from the start."""
    size = trainer.params.train.batch_size
    resident = list(image_batches(trainer.data.store, trainer.data.train_positions, size, trainer.device))

    def on_device() -> None:
        with patch("couplet.training.loop.image_batches", lambda *_: iter(resident)):
            synchronised_epoch(trainer, folder)

    return interleave({END_TO_END: lambda: synchronised_epoch(trainer, folder), RESIDENT: on_device}, rounds)


def synchronised_epoch(trainer: Trainer, folder: Path) -> None:
    given.epoch(trainer, folder)
    synchronise(trainer.device)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def training_flops(network: nn.Module, side: int) -> int:
    """Operations per training image, two per multiplication and addition: three forward passes."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        deepcopy(network).to("meta").eval()(torch.empty(1, 3, side, side, device="meta"))
    return 3 * counter.get_total_flops()


def matrix_speed(device: torch.device, dtype: torch.dtype, side: int, products: int = 20) -> float:
    """Operations per second of the fastest of five runs of products of two random matrices."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(1 + 5):
        synchronise(device)
        start = time.perf_counter()
        for _ in range(products):
            a @ b
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 * products / min(seconds)


def speed_table(samples: dict[str, Samples], n: int, flops: int, peak: float) -> Table:
    rows: list[list[str | float | int]] = []
    for name, sample in samples.items():
        speed = flops * n / sample.median()
        rows.append(
            [name, n / sample.median(), 1000 * sample.median("cpu") / n, speed / 1e12, 100 * speed / peak]
        )
    return Table("Training", ["", "images/s", "CPU ms per image", "TFLOP/s", "% of peak"], rows)
