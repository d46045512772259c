"""What a trained fold records of itself: data/models/fold_k/config.json."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from couplet.project.errors import UserError
from couplet.project.files import read_record, write_json
from couplet.project.project import HERE, Project
from couplet.results.shard_list import refuse_other_shards
from couplet.settings.params import Params

NAME = "config.json"
# By section: settings that a trained fold does not follow from itself. How images are stored is part of the data
# (labels.json), how often a checkpoint is written changes no result, and couplings are fitted after training.
NOT_TRAINED_WITH = {
    "image": ("store_size", "channels", "codec"),
    "inference": ("tta", "batch_size"),
    "refiner": ("strictness",),
    "train": ("checkpoint_minutes",),
}


@dataclass(frozen=True)
class ModelRecord:
    """What rebuilds the predictor, what the report compares between folds, and what the weights follow from.

    Attributes:
        fold: which images were held out.
        labels: names of the L labels, in the order of the logits.
        best_epoch: the epoch that was kept, from 1.
        val_auc_macro: its validation macro-AUC.
        epochs_run, steps, skipped_batches: how the training went; steps are updates that were done.
        n_parameters: of backbone, head and refiner.
        device, precision, arithmetic: what it was computed on and in (`models/device.py`).
        params: the settings that a trained fold follows from (`trained_params`).
        data: path to md5 of the tables that it was trained on, as they were on the disk (`trained_on`).
        code: digest of the code.
        weights: SHA-256 of the pretrained weights' file, or "none".
        versions: of the libraries that decide digits.
    """

    fold: int
    labels: list[str]
    best_epoch: int
    val_auc_macro: float
    epochs_run: int
    steps: int
    skipped_batches: int
    n_parameters: int
    device: str
    precision: str
    arithmetic: dict[str, str]
    params: dict[str, Any]
    data: dict[str, str]
    code: str
    weights: str
    versions: dict[str, str]


def trained_params(params: Params) -> dict[str, object]:
    """The settings that a trained fold follows from, by section: exactly those that DVC invalidates it on.

    Any other in the record would be that of whoever trained first: DVC takes the fold, record and all, from its run
    cache whenever settings, data and code are the same, and a remedy "run `dvc repro`" could never end.
    """
    sections = (
        "seed",
        "image",
        "model",
        "refiner",
        "loss",
        "optimizer",
        "schedule",
        "ema",
        "train",
        "augment",
        "inference",
    )
    content = params.as_dict()
    trained = {section: content[section] for section in sections}
    for section, keys in NOT_TRAINED_WITH.items():
        trained[section] = {key: value for key, value in content[section].items() if key not in keys}
    return trained


def refuse_other_store(params: Params, project: Project = HERE) -> None:
    """Raise UserError if params.yaml asks for another store than data/prepared is.

    `dvc repro` makes it first; a stage by itself (`dvc repro -s`) would work with the one that is there.
    """
    stored = read_record(project.labels, image=dict)["image"]
    for key, value in params.as_dict()["image"].items():
        if key in stored and stored[key] != value:
            raise UserError(
                f"{project.params}: image.{key} is {value!r}, but {project.prepared} was made with {stored[key]!r}: "
                "run `dvc repro`, or restore params.yaml"
            )


def trained_on(project: Project = HERE) -> dict[str, str]:
    """Path to md5 of what a fold is trained on: manifest, labels, the list of the store's files, and folds.

    The files themselves are hashed, whatever dvc.lock says of them. Of the images, the list's digests count and
    their files' sizes are compared with it.

    Raises:
        UserError: a file is missing, or the store's files are not those of its list.
    """
    refuse_other_shards(project)
    tables = (project.manifest, project.labels, project.shards, project.folds)
    return {path.relative_to(project.root).as_posix(): _md5(path) for path in tables}


def refuse_other_data(record: ModelRecord, project: Project, remedy: str) -> None:
    """Raise UserError if a fold's model was trained on other tables or images than those that are here.

    Args:
        record: of the model.
        project: where the data is.
        remedy: what to run instead, at the end of the error.
    """
    for path, md5 in trained_on(project).items():
        if record.data.get(path) != md5:
            raise UserError(
                f"{project.model(record.fold)} was trained on another {Path(path).name} than {project.root / path}: "
                f"run `{remedy}`"
            )


def other_tables(record: ModelRecord, project: Project) -> list[str]:
    """Names of the tables that are here and are not those that a fold's model was trained on."""
    here = ((path, project.root / path) for path in record.data)
    return [file.name for path, file in here if file.is_file() and _md5(file) != record.data[path]]


def _md5(path: Path) -> str:
    try:
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run `dvc repro` (or `dvc checkout`) to make it") from None


def write_model_record(folder: Path, record: ModelRecord) -> None:
    """Write the record of the model in `folder`."""
    write_json(folder / NAME, asdict(record))


def read_model_record(folder: Path) -> ModelRecord:
    """Read the record of the model in `folder`.

    Raises:
        UserError: it is missing, damaged, or lacks what a record has.
    """
    hints = get_type_hints(ModelRecord)
    kinds = {field.name: get_origin(hints[field.name]) or hints[field.name] for field in fields(ModelRecord)}
    content = read_record(folder / NAME, **kinds)
    return ModelRecord(**{name: content[name] for name in kinds})
