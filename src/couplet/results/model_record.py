"""What a trained fold records of itself: data/models/fold_k/config.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from couplet.project.files import read_record, write_json
from couplet.settings.params import Params

NAME = "config.json"


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
        params: the sections of params.yaml that a trained fold depends on.
        data: path to md5 of what it was trained on.
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
    """The sections of params.yaml that a trained fold depends on."""
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
    )
    content = params.as_dict()
    return {section: content[section] for section in sections}


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
