"""One training step, and prediction: a float32 NCHW loop with torch's defaults, against ours.

Both have the same network, the same weights to start from, loss, optimiser and number of threads, and a process of
their own: how ours sets up torch and memory must not help the opponent. The opponent's images are normalised and in
memory; ours still have to become views: that is part of the Trainer's step.
"""

from __future__ import annotations

import io
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import given, plain
from benchmarks.harness import (
    Samples,
    Section,
    Size,
    Table,
    at_least,
    at_most,
    interleave,
    not_measured,
    ratio,
)
from couplet.images.loading.draws import image_keys, uniforms
from couplet.images.loading.views import N_DRAWS, evaluation_view, training_view
from couplet.inference.predict import predict_probabilities
from couplet.models.device import fix_torch, resolve_precision
from couplet.models.predictor import normalisation
from couplet.running.memory import keep_freed_memory
from couplet.settings.params import Params
from couplet.training.loop import Trainer

Row = list[str | float | int]
PROMISED = 3.5
ROUNDS = {"full": 3, "tiny": 1}


@dataclass(frozen=True)
class Case:
    """A network with its settings, steps per measurement, images to predict."""

    name: str
    params: Params
    steps: int
    n_predicted: int


def cases(size: Size) -> list[Case]:
    train = {"batch_size": 4}
    if size == "tiny":
        image = {"size": 32, "store_size": 36}
        narrow = {"backbone": "resnet18", "backbone_args": {"channels": [8, 8, 16, 16]}}
        graphs = given.settings("db_dgcn_cxr", image=image, train=train, model=narrow)
        return [
            Case("thin SE-ResNeXt", given.settings("phantom_large", image=image, train=train), 2, 6),
            Case("thin ResNet + DB-DGCN", graphs, 2, 6),
        ]
    image, model = {"size": 448, "store_size": 512}, {"backbone": "resnet101"}
    graphs = given.settings("db_dgcn_cxr", image=image, train=train, model=model)
    return [
        Case("seresnext101_32x4d at 380", given.settings("paper", train=train), 2, 4),
        Case("resnet101 + DB-DGCN at 448", graphs, 2, 4),
        Case("the large phantom's thin net at 64", given.settings("phantom_large"), 20, 480),
    ]


def run(size: Size) -> Section:
    precision = resolve_precision("auto", torch.device("cpu"))
    steps: list[Row] = []
    predictions: list[Row] = []
    spawn = multiprocessing.get_context("spawn")
    for number, case in enumerate(cases(size)):
        with ProcessPoolExecutor(1, spawn) as theirs, ProcessPoolExecutor(1, spawn) as ours:
            pools = {"theirs": theirs, "ours": ours}
            ways = {
                work: {side: partial(ask, pool, side, work, size, number) for side, pool in pools.items()}
                for work in ("train", "predict")
            }
            predicted = interleave(ways["predict"], ROUNDS[size])
            trained = interleave(ways["train"], ROUNDS[size])
        difference = np.abs(predicted["theirs"].result - predicted["ours"].result).max()
        predictions.append([*row(case, predicted, case.n_predicted), float(difference)])
        steps.append(row(case, trained, case.params.train.batch_size, case.steps))
    speed = f"training step of {steps[0][0]}"
    claims = [
        at_least(speed, float(steps[0][-1]), PROMISED)
        if precision == "bf16"
        else not_measured(speed, f"at least {PROMISED}x", "this CPU has no bf16"),
        at_most("a probability after three float32 steps, off the plain loop's by", disagreement(), 1e-4),
    ]
    pairs = ["float32 NCHW, s", "couplet, s", "images/s", "couplet, images/s"]
    columns = ["network", "images", "threads", *pairs, "times faster"]
    tables = [
        Table("One training step", columns, steps),
        Table("Prediction with flip TTA", [*columns, "largest difference"], predictions),
    ]
    notes = [
        f"Ours runs in {precision}; both have train.threads of the preset. Networks start at random, images are noise.",
        "A step is forward, backward, clipping, AdamW and EMA; ours makes the views of its images as well.",
    ]
    return Section("Training step and prediction on the CPU", tables, claims, notes)


def row(case: Case, samples: dict[str, Samples], n_images: int, steps: int = 1) -> Row:
    theirs, ours = (samples[name].median() / steps for name in ("theirs", "ours"))
    faster = ratio(samples["theirs"], samples["ours"])
    threads = case.params.train.threads
    return [case.name, n_images, threads, theirs, ours, n_images / theirs, n_images / ours, faster]


def ask(pool: ProcessPoolExecutor, side: str, work: str, size: Size, number: int) -> Any:
    return pool.submit(do, side, work, size, number).result()


def do(side: str, work: str, size: Size, number: int) -> Any:
    """One measurement, in the process of one side."""
    with redirect_stdout(io.StringIO()):
        return getattr(contest_of(side, size, number), f"{side}_{work}")()


@cache
def contest_of(side: str, size: Size, number: int) -> Contest:
    case, precision = cases(size)[number], resolve_precision("auto", torch.device("cpu"))
    if side == "ours":  # as train_fold begins
        fix_torch(case.params.train.threads)
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        return Contest(case, Path(folder) / "store", precision)


class Contest:
    """A plain loop and a Trainer over the same random images, from the same weights."""

    def __init__(self, case: Case, folder: Path, precision: str) -> None:
        self.case, self.params = case, case.params
        torch.set_num_threads(self.params.train.threads)
        batch = self.params.train.batch_size
        n = max(batch * case.steps, case.n_predicted)
        data = given.random_fold(n, self.params.image.store_size, folder)
        predictor = given.predictor_of(self.params, data.train_truth)
        self.mean_std = normalisation(predictor.backbone)
        self.loop = plain.PlainLoop(predictor, self.params, case.steps)
        self.trainer = Trainer(
            predictor.to(memory_format=torch.channels_last), self.params, 0, data, precision
        )
        self.stored = torch.from_numpy(data.store.read(data.train_positions))
        self.targets = torch.from_numpy(data.train_truth)
        self.views = evaluation_view(self.stored, self.params.image.size, *self.mean_std).contiguous()
        self.batches = np.split(np.arange(case.steps * batch), case.steps)

    def theirs_train(self) -> None:
        self.loop.model.train()
        for rows in self.batches:
            self.loop.step(self.views[rows], self.targets[rows])

    def ours_train(self) -> None:
        self.trainer.predictor.train()
        for rows in self.batches:
            self.trainer.step(self.trainer.batch(self.stored[rows], rows))

    def theirs_predict(self) -> np.ndarray:
        parts = self.views[: self.case.n_predicted].split(self.params.inference.batch_size)
        return np.concatenate([plain.probabilities(self.loop.model, part) for part in parts])

    def ours_predict(self) -> np.ndarray:
        return our_probabilities(self.trainer, self.case.n_predicted)


def our_probabilities(trainer: Trainer, n: int) -> np.ndarray:
    return predict_probabilities(
        trainer.predictor,
        trainer.data.store,
        np.arange(n),
        size=trainer.params.image.size,
        batch_size=trainer.params.inference.batch_size,
        tta=True,
        precision=trainer.precision,
    )


def disagreement() -> float:
    """Largest difference of a probability after three steps of each in float32 on the same views."""
    image, train = {"size": 32, "store_size": 36}, {"batch_size": 8}
    params = given.settings(
        "phantom_large",
        image=image,
        train=train,
        model={"dropout": 0.0},
        optimizer={"lr": 0.001},  # the first steps of Adam are lr times a sign, also of gradients near 0
        schedule={"warmup_epochs": 0},
    )
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        contest = Contest(Case("", params, 3, 24), Path(folder) / "store", "float32")
        keys = image_keys(contest.trainer.data.train_ids)
        draws = uniforms(keys, params.seed, 0, 0, N_DRAWS)
        views = training_view(contest.stored, draws, params.image.size, params.augment, *contest.mean_std)
        contest.loop.model.train()
        contest.trainer.predictor.train()
        for rows in np.split(np.arange(24), 3):
            contest.loop.step(views[rows].contiguous(), contest.targets[rows])
            contest.trainer.step(contest.trainer.batch(contest.stored[rows], rows))
        ours = our_probabilities(contest.trainer, 24)
        theirs = plain.probabilities(contest.loop.model, contest.views)
    return float(np.abs(ours - theirs).max())
