"""Checkpoints that survive being killed at any moment, and that never load anything but safetensors and JSON.

A checkpoint is one index file, checkpoint.json, written last, and the tensor files it names, each with its
SHA-256. A crash between the two leaves the older index with its older files. A damaged file is noticed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from couplet.models.predictor import Predictor
from couplet.project.console import say
from couplet.project.files import write_bytes, write_json
from couplet.training.ema import EMA
from couplet.training.processes import Processes

INDEX = "checkpoint.json"
Tensors = dict[str, torch.Tensor]


@dataclass
class Checkpoint:
    """Progress (plain JSON content) and named groups of tensors."""

    progress: dict[str, Any]
    groups: dict[str, Tensors]


def save_checkpoint(folder: Path, progress: dict[str, Any], groups: dict[str, tuple[str, Tensors]]) -> None:
    """Write groups of tensors and progress.

    `groups` maps a group's name to (version, tensors). A file whose version did not change since the last
    checkpoint (the best weights, mostly) is not written again.
    """
    known = (_read_index(folder) or {}).get("files", {})
    files = {}
    for group, (version, tensors) in groups.items():
        name = f"{group}-{version}.safetensors"
        digest = known.get(name) if (folder / name).exists() else None
        if digest is None:
            data = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
            digest = hashlib.sha256(data).hexdigest()
            write_bytes(folder / name, data)
        files[name] = digest
    index = {"files": files, "progress": progress}
    write_json(folder / INDEX, {"digest": _digest(index), **index})
    for path in folder.glob("*.safetensors"):
        if path.name not in files:
            path.unlink()


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the last checkpoint; None if there is none, or if it is damaged: that is said, and it is removed."""
    if not (folder / INDEX).exists():
        return None
    checkpoint = _read(folder)
    if checkpoint is None:
        # Else the next checkpoint would take over a damaged file of the same version.
        for path in (folder / INDEX, *folder.glob("*.safetensors")):
            path.unlink(missing_ok=True)
    return checkpoint


def load_shared_checkpoint(folder: Path, processes: Processes) -> Checkpoint | None:
    """The first process's checkpoint in every process: the others need not see its disk."""
    own = load_checkpoint(folder) if processes.first else None
    if processes.size == 1:
        return own
    groups = {} if own is None else own.groups
    said = json.dumps(None if own is None else {"progress": own.progress, "groups": list(groups)})
    told = json.loads(processes.share(said.encode()))
    if told is None:
        return None
    first = processes.first
    received = {name: load(processes.share(save(groups[name]) if first else b"")) for name in told["groups"]}
    return Checkpoint(told["progress"], received)


def _read(folder: Path) -> Checkpoint | None:
    index = _read_index(folder)
    if index is None:
        say(f"{folder / INDEX} is damaged: starting afresh")
        return None
    groups: dict[str, Tensors] = {}
    for name, digest in index["files"].items():
        path = folder / name
        data = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(data).hexdigest() != digest:
            say(f"{path} is damaged: starting afresh")
            return None
        try:
            groups[name.split("-", 1)[0]] = load(data)
        except SafetensorError:
            say(f"{path} is not a safetensors file: starting afresh")
            return None
    return Checkpoint(index["progress"], groups)


def _read_index(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        digest = content.pop("digest")
    except (OSError, ValueError, AttributeError, KeyError):
        return None
    return content if digest == _digest(content) else None


def _digest(index: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


# --- what a run goes on from --------------------------------------------------------------------------------


def training_tensors(predictor: Predictor, ema: EMA | None, optimizer: torch.optim.Optimizer) -> Tensors:
    """All tensors that a run changes, flat: weights, averages and the optimiser's state."""
    tensors = {f"predictor.{key}": value for key, value in predictor.own_state().items()}
    if ema is not None:
        tensors |= {f"ema.{key}": value for key, value in ema.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items() if value is not None}
    return tensors


def load_training_tensors(
    tensors: Tensors, predictor: Predictor, ema: EMA | None, optimizer: torch.optim.Optimizer
) -> None:
    """Put what `training_tensors` gave back in its place."""

    def part(prefix: str) -> Tensors:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    predictor.load_own_state(part("predictor."))
    if ema is not None:
        ema.load_state_dict(part("ema."))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in part("optimizer.").items():
        index, name = key.split(".", 1)
        if value.shape == parameters[int(index)].shape:
            # The fused optimiser walks raw memory: its state must be laid out as its parameter is.
            value = torch.empty_like(parameters[int(index)]).copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
