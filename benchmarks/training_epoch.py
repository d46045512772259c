"""A whole training epoch on real X-rays with a thin net: files, DataLoader and float32 loop, against ours.

A study, run when it is named.
"""

from __future__ import annotations

import io
import tempfile
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks import given, plain
from benchmarks.harness import REAL_DATA, Section, Size, Table, at_most, interleave, ratio
from couplet.datasets.grand_xray_slam import LABELS
from couplet.models.device import resolve_precision
from couplet.settings.params import Params
from couplet.training.loop import Trainer

ONE, TWO, OURS = "plain loop, 1 worker", "plain loop, 2 workers", "couplet"


SIZES = {"full": given.Sizes(256, 224, 734, 3), "tiny": given.Sizes(40, 32, 50, 1)}


def run(size: Size) -> Section:
    sizes, real = SIZES[size], size == "full" and given.XRAYS.is_dir()
    params = given.settings(
        "phantom_large",
        image={"size": sizes.view, "store_size": sizes.store},
        schedule={"epochs": sizes.rounds + 1},  # the warm-up's epoch is one of them
    )
    torch.set_num_threads(params.train.threads)
    with tempfile.TemporaryDirectory() as name, redirect_stdout(io.StringIO()):
        folder = Path(name)
        if real:
            files = trainable_xrays()
            labels = real_labels(files)
        else:
            files = given.drawn_xrays(folder / "files", sizes.n_drawn, sizes.store)
            labels = given.random_labels(len(files))
        table = timed(files, labels, folder, params, sizes.rounds)
    on_list = len(official_test_names() & {file.stem for file in files}) if real else 0
    claims = [at_most("images trained on that are on NIH's official test list", on_list, 0)]
    kind = "real X-rays that are not on NIH's official test list" if real else "drawn X-rays"
    notes = [
        f"{len(files)} {kind}, JPEG files of {sizes.store} px, in batches of {params.train.batch_size}; the last short "
        "batch is dropped, nothing is validated. Workers decode and transform, a single thread trains.",
        "Losses are those of the last epoch, of all epochs that were timed; views and dropout are drawn differently.",
    ]
    return Section(
        f"A training epoch at {sizes.view} px with the large phantom's thin net", [table], claims, notes
    )


def timed(files: list[Path], labels: np.ndarray, folder: Path, params: Params, rounds: int) -> Table:
    """Each contender goes on with its own training, from the same weights."""
    batch, steps = params.train.batch_size, len(files) // params.train.batch_size
    dataset = plain.Images(files, labels, plain.training_transforms(params.image.size))
    predictor = given.predictor_of(params, labels)
    contenders = {
        name: partial(
            plain_epoch,
            plain.PlainLoop(predictor, params, steps),
            plain.loader(dataset, batch, workers, drop_last=True),
        )
        for name, workers in ((ONE, 1), (TWO, 2))
    }
    data = given.fold_of(given.pack(files, folder / "store", params.image.store_size), labels)
    precision = resolve_precision("auto", torch.device("cpu"))
    trainer = Trainer(predictor.to(memory_format=torch.channels_last), params, 0, data, precision)
    samples = interleave(contenders | {OURS: partial(given.epoch, trainer, folder)}, rounds)
    n = steps * batch
    rows: list[list[str | float | int]] = [
        [
            name,
            s.result[0],
            s.median(),
            n / s.median(),
            1000 * s.median("cpu") / n,
            ratio(samples[ONE], s),
            ratio(samples[ONE], s, "cpu"),
            s.result[1],
        ]
        for name, s in samples.items()
    ]
    columns = [
        "",
        "steps",
        "s per epoch",
        "images/s",
        "CPU ms per image",
        "times faster",
        "times less CPU",
        "mean loss",
    ]
    return Table("One epoch", columns, rows)


def plain_epoch(loop: plain.PlainLoop, batches: DataLoader[list[Tensor]]) -> tuple[int, float]:
    """Steps done and their mean loss."""
    losses = [loop.step(images, targets) for images, targets in batches]
    return len(losses), float(np.mean(losses))


def trainable_xrays() -> list[Path]:
    test = official_test_names()
    return [file for file in sorted(given.XRAYS.iterdir()) if file.stem not in test]


def official_test_names() -> set[str]:
    names = (REAL_DATA / "nih_cxr14_labels" / "test_list.txt").read_text().split()
    return {Path(name).stem for name in names}


def real_labels(files: list[Path]) -> np.ndarray:
    table = pd.read_csv(REAL_DATA / "nih_cxr14" / "slam_shaped.csv", index_col="Image_name")
    return table.loc[[file.name for file in files], list(LABELS)].to_numpy(np.float32)
