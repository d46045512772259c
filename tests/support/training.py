"""Training in one of several processes: what tests start in each rank, and the bytes that it ends with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from couplet.models.predictor import build_predictor
from couplet.project.errors import Stopped
from couplet.training.checkpoint import training_tensors
from couplet.training.loop import Trainer
from couplet.training.phases import phases_of, train_in_phases
from couplet.training.processes import Processes, join_processes, leave_processes
from tests.support.folds import LABELS, fold_data, settings

N_TRAIN, N_VAL, BATCH = 100, 70, 32
STEPS = 9  # three epochs of three
IN_PARTS = {"train__batch_size": BATCH, "train__parts": 4}


def new_trainer(store: Path, changes: Mapping[str, Any], processes: Processes, stop_at: int) -> Trainer:
    """A trainer of 3 epochs of 3 steps, of which the last process is asked to end after `stop_at` steps."""
    torch.set_num_threads(1)
    store.mkdir(exist_ok=True)
    unknown = 0.3 if changes.get("loss__reduction") == "mean" else 0.0
    params = settings(**{**IN_PARTS, **changes})
    data = fold_data(store, N_TRAIN, N_VAL, unknown)
    predictor = build_predictor(params, LABELS, (params.seed, 0), data.train_truth)

    def asked_to_stop() -> bool:
        last = processes.rank == processes.size - 1
        return last and 3 * run.progress.epoch + run.progress.batch >= stop_at

    run = Trainer(
        predictor.to(memory_format=torch.channels_last), params, 0, data, "float32", processes, asked_to_stop
    )
    return run


def train(
    folder: Path, changes: Mapping[str, Any], stops: tuple[int, ...] = (STEPS,)
) -> list[dict[str, str]]:
    """Train once for each of `stops`, in folder/<stop>; what each ended with, see `ended_with`.

    A run whose folder has a checkpoint goes on from there. From STEPS on, a stop comes too late.
    """
    processes = join_processes(int(IN_PARTS["train__parts"]), "cpu")
    ends = []
    for stop_at in stops:
        # Each process has a store of its own, as hosts have.
        run = new_trainer(folder / f"store{processes.rank}", changes, processes, stop_at)
        try:
            run.run(folder / str(stop_at))
        except Stopped as stopped:
            ends.append({"stopped": str(stopped)})
        else:
            ends.append(ended_with(run, folder / str(stop_at)))
    leave_processes(processes)
    return ends


def train_chain(folder: Path, levels: Mapping[str, Any]) -> dict[str, str]:
    """Train a chain of networks in parts, two epochs a level; digests of its weights and of its history."""
    torch.set_num_threads(1)
    processes = join_processes(int(IN_PARTS["train__parts"]), "cpu")
    store = folder / f"store{processes.rank}"
    store.mkdir(exist_ok=True)
    params = settings(**IN_PARTS, model__levels=dict(levels), schedule__epochs=2)
    data = fold_data(store, N_TRAIN, N_VAL)
    predictor = build_predictor(params, LABELS, (params.seed, 0), data.train_truth)
    predictor.to(memory_format=torch.channels_last)
    trainer = train_in_phases(
        predictor,
        lambda ready: Trainer(ready, params, 0, data, "float32", processes),
        folder / "chain",
        phases_of(predictor),
    )
    leave_processes(processes)
    history = [progress.history for progress in (*trainer.earlier, trainer.progress)]
    return {"weights": _digest(predictor.state_dict()), "history": json.dumps(history)}


def go_on(folder: Path, changes: Mapping[str, Any], stops: tuple[int, ...]) -> list[dict[str, str]]:
    """Train on from the checkpoints in folder/<stop>, undisturbed."""
    processes = join_processes(int(IN_PARTS["train__parts"]), "cpu")
    ends = []
    for stop_at in stops:
        run = new_trainer(folder / f"store{processes.rank}", changes, processes, STEPS)
        run.run(folder / str(stop_at))
        ends.append(ended_with(run, folder / str(stop_at)))
    leave_processes(processes)
    return ends


def ended_with(run: Trainer, folder: Path) -> dict[str, str]:
    """Digests of a run's weights, averages and optimiser, of its best weights, its history and its checkpoint's files."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return {
        "state": _digest(training_tensors(run.predictor, run.ema, run.optimizer)),
        "best": _digest(run.best),
        "history": json.dumps(run.progress.history),
        "files": json.dumps({name: hashlib.sha256(data).hexdigest() for name, data in files.items()}),
    }


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
