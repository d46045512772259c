"""A fold of random images, the settings of a network that learns it in a second, and its trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from couplet.images.loading.store import ImageStore, shard_name
from couplet.models.predictor import Predictor, build_predictor
from couplet.project.files import write_csv, write_json
from couplet.results.metadata import known_means
from couplet.settings.params import Params, parse_params
from couplet.training.loop import Trainer
from couplet.training.state import FoldData
from couplet.training.step import Batch

LABELS = ["Edema", "Nodule", "Effusion"]
N_TRAIN, N_VAL, SIZE = 26, 12, 32  # of `made_up_fold`


def settings(**changes: Any) -> Params:
    """The defaults with a small network, changed by `section__key=value`."""
    content = Params().as_dict()
    content["image"].update(size=SIZE, store_size=SIZE)
    content["model"].update(backbone="resnet18", pretrained=False, backbone_args={"channels": [8, 8, 16, 16]})
    content["train"].update(batch_size=8, precision="float32")
    for dotted, value in changes.items():
        section, key = dotted.split("__")
        content[section][key] = value
    if content["model"]["head"] == "db_dgcn":
        content["model"]["head_args"] = {"dim": 16, "normalize": True} | content["model"]["head_args"]
    return parse_params(content, "test")


def fold_data(folder: Path, n_train: int, n_val: int, unknown: float = 0.0) -> FoldData:
    """A store in `folder`, of whose images a corner is bright where the first label is present.

    One label is unknown, and of the others this share.
    """
    rng, n = np.random.default_rng(0), n_train + n_val
    labels = (rng.random((n, len(LABELS))) < 0.4).astype(np.float32)
    labels[0, 0] = np.nan
    images = rng.integers(0, 80, (n, 1, SIZE, SIZE)).astype(np.uint8)
    images[:, 0, :8, :8] += (100 * np.nan_to_num(labels[:, 0]))[:, None, None].astype(np.uint8)
    labels[rng.random(labels.shape) < unknown] = np.nan
    np.save(folder / shard_name(0), images)
    write_csv(folder / "manifest.csv", pd.DataFrame({"shard": 0, "row": range(n)}))
    write_json(folder / "labels.json", {"image": {"channels": 1, "store_size": SIZE}})
    train, val = np.arange(n_train), np.arange(n_train, n)
    ids = [f"image{i:03d}" for i in train]
    return FoldData(ImageStore(folder), ids, train, labels[train], val, labels[val])


def made_up_fold(folder: Path) -> FoldData:
    """A fold of 26 training and 12 validation images."""
    return fold_data(folder, N_TRAIN, N_VAL)


def trainer(data: FoldData, params: Params, fold: int = 0, precision: str = "float32") -> Trainer:
    torch.set_num_threads(1)
    labels = [f"label {i}" for i in range(data.train_truth.shape[1])]
    read = params.model.metadata
    mean = None if data.metadata is None else known_means(data.metadata[data.train_positions], read, fold)
    predictor = build_predictor(params, labels, (params.seed, fold), data.train_truth, metadata_mean=mean)
    return Trainer(predictor.to(memory_format=torch.channels_last), params, fold, data, precision)


def final(run: Trainer) -> dict[str, torch.Tensor]:
    return {f"best.{k}": v for k, v in run.best.items()} | {
        f"last.{k}": v for k, v in run.predictor.state_dict().items()
    }


def with_bad_batches(run: Trainer, bad: Callable[[int], bool]) -> None:
    """Make the loss of some batches, counted from 0, not a number, and poison BatchNorm as an overflow does."""
    loss, calls = run.step.loss, [0]

    def broken(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if not bad(calls[0] - 1):
            return loss(logits, targets)
        run.step.buffers.buffers[0].data.fill_(float("nan"))  # .data: autograd must not notice
        return loss(logits, targets) * float("nan")

    run.step.loss = broken  # type: ignore[assignment]


def state_of(predictor: Predictor, without: str = "-") -> dict[str, torch.Tensor]:
    """A copy of all tensors but those whose names begin so."""
    return {key: v.clone() for key, v in predictor.state_dict().items() if not key.startswith(without)}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two states have the same tensors, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


@contextmanager
def killed_at(batch: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Training dies when it asks for this batch, counted from 0 through all phases."""
    ask, calls = Trainer.batch, 0

    def dies(self: Trainer, *arguments: Any) -> Batch:
        nonlocal calls
        calls += 1
        if calls > batch:
            raise KeyboardInterrupt
        return ask(self, *arguments)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "batch", dies)
        yield


def killed_and_resumed(
    data: FoldData, tmp_path: Path, params: Params, last: int, monkeypatch: pytest.MonkeyPatch
) -> Trainer:
    """Train straight, and killed before batch `last` and resumed: the same history and bytes. The straight one."""
    straight = trainer(data, params)
    straight.run(tmp_path / "straight")

    with killed_at(last, monkeypatch):
        trainer(data, params).run(tmp_path / "killed")
    resumed = trainer(data, params)
    torch.rand(5)  # where the global generator stands must not matter
    resumed.run(tmp_path / "killed")

    assert resumed.progress.history == straight.progress.history
    assert same(final(resumed), final(straight))
    return straight
