"""Stage train_fold: train the predictor of one fold and keep the weights of its best epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import PIL
import timm
import torch
import typer

from couplet.images.loading.store import ImageStore
from couplet.models.device import (
    arithmetic_record,
    fix_torch,
    resolve_device,
    resolve_precision,
)
from couplet.models.predictor import build_predictor, save_predictor
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.project.files import write_csv
from couplet.project.project import Project
from couplet.results.couplings import write_couplings
from couplet.results.folds import read_folds
from couplet.results.manifest import Manifest, read_manifest
from couplet.results.metadata import by_position, known_means, metadata
from couplet.results.model_record import (
    ModelRecord,
    refuse_other_store,
    trained_on,
    trained_params,
    write_model_record,
)
from couplet.results.weights import refuse_other_weights
from couplet.running.arithmetic import processor
from couplet.running.launch import noting_termination
from couplet.running.memory import keep_freed_memory
from couplet.running.provenance import Provenance, code_digests, stage_provenance
from couplet.running.workspace import workspace
from couplet.settings.params import load_params
from couplet.training.loop import Trainer
from couplet.training.loss import build_loss
from couplet.training.phases import phases_of, train_in_phases
from couplet.training.processes import Processes, join_processes, leave_processes, refuse_other_origin
from couplet.training.state import FoldData


def train_fold(fold: Annotated[int, typer.Argument(help="the fold that is held out for validation")]) -> None:
    """Train one fold; go on where a killed run stopped."""
    project = Project()
    params = load_params(project.params)
    params.split.refuse_unknown(fold)
    fix_torch(params.train.threads)
    keep_freed_memory()
    device = resolve_device(params.train.device, params.train.arithmetic)
    precision = resolve_precision(params.train.precision, device, params.train.arithmetic)
    processes = join_processes(params.train.parts, device.type)
    arithmetic = arithmetic_record(device.type)
    manifest = read_manifest(project)
    refuse_other_store(params, project)
    data = fold_data(manifest, read_folds(manifest), fold, params.inference.unscored, params.model.metadata)
    predictor = build_predictor(
        params,
        manifest.labels,
        (params.seed, fold),
        data.train_truth,
        weights_folder=project.weights,
        repeat=params.train.repeat,
        metadata_mean=known_metadata(data, params.model.metadata, fold),
    )
    uninformed = build_loss(params.loss, data.train_truth).uninformed_logits(data.train_truth)
    for level in predictor.levels:
        level.head.start_without_information(uninformed)
    refuse_other_weights(params.model, predictor.backbone.weights, project)
    provenance = stage_provenance("train_fold", params, trained_on(project), project)
    predictor.to(device).to(memory_format=torch.channels_last)
    origin = {
        "fold": fold,
        "device": device.type,
        "precision": precision,
        "arithmetic": arithmetic,
        "processor": processor(),
        "weights": predictor.backbone.weights,
        "versions": versions(),
    }
    key = provenance.key(**origin)
    named = {**code_digests("train_fold", params), **provenance.data, **provenance.params, **origin}
    refuse_other_origin(processes, {name: json.dumps(value, sort_keys=True) for name, value in named.items()})
    say(
        f"fold {fold}: {len(data.train_ids)} images to train on, {len(data.val_positions)} to validate, "
        f"{device.type} in {precision}, {arithmetic['name']} arithmetic"
    )
    with first_process_workspace(processes, key, project) as folder:
        with noting_termination() as asked_to_stop:
            trainer = train_in_phases(
                predictor,
                lambda ready: Trainer(ready, params, fold, data, precision, processes, asked_to_stop),
                folder,
                phases_of(predictor),
            )
        leave_processes(processes)
        if not processes.first:
            return
        now = load_params(project.params)
        if stage_provenance("train_fold", now, trained_on(project), project) != provenance:
            raise UserError(
                f"params.yaml, the data or the code changed while fold {fold} was training, so nothing was "
                "written: undo the change and run `dvc repro` again to take over the finished run"
            )
        save_run(project, trainer, manifest.labels, provenance)


@contextmanager
def first_process_workspace(processes: Processes, key: str, project: Project) -> Iterator[Path]:
    """The workspace, held by the first process; the others are given its place and write nothing there."""
    if processes.first:
        with workspace("train_fold", key, project) as folder:
            yield folder
    else:
        yield project.scratch


def fold_data(
    manifest: Manifest,
    folds: np.ndarray,
    fold: int,
    unscored: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> FoldData:
    """Training images are those of every other fold; test images are in neither part.

    Of labels that are `unscored` the truth is hidden where an epoch is chosen; `columns` are those of model.metadata.
    """
    val = folds == str(fold)
    train = ~val & (folds != "test")
    for name, rows in (("trains", train), ("validates", val)):
        if not rows.any():
            raise UserError(
                f"fold {fold} {name} on no image: {manifest.project.folds} has none; run `dvc repro split_mis`"
            )
    return FoldData(
        store=ImageStore(manifest.project.prepared),
        train_ids=list(manifest.ids[train]),
        train_positions=manifest.positions[train],
        train_truth=manifest.truth[train],
        val_positions=manifest.positions[val],
        val_truth=manifest.scored_truth(unscored)[val],
        metadata=by_position(metadata(manifest, columns), manifest.positions) if columns else None,
    )


def known_metadata(data: FoldData, columns: Sequence[str], fold: int) -> np.ndarray | None:
    """(m,) means of what is known of the training images; None where nothing is read beside the features."""
    return None if data.metadata is None else known_means(data.metadata[data.train_positions], columns, fold)


def save_run(project: Project, trainer: Trainer, labels: list[str], provenance: Provenance) -> None:
    """Write the best epoch's weights, the couplings, the history and what they follow from."""
    folder, predictor = project.model(trainer.fold), trainer.predictor
    folder.mkdir(parents=True, exist_ok=True)
    save_predictor(folder / "predictor.safetensors", predictor)
    refiner = predictor.refiner
    couplings = None if refiner is None else refiner.couplings.detach().cpu().numpy()
    write_couplings(project, trainer.fold, labels, couplings)
    write_csv(folder / "history.csv", pd.DataFrame(history(trainer)), float_format="%.8g")
    write_model_record(folder, model_record(trainer, labels, provenance))


def history(trainer: Trainer) -> list[dict[str, Any]]:
    """One row for each epoch of all phases."""
    return [row for progress in (*trainer.earlier, trainer.progress) for row in progress.history]


def model_record(trainer: Trainer, labels: list[str], provenance: Provenance) -> ModelRecord:
    """What evaluate_fold needs to rebuild the predictor, and what the report compares between folds."""
    state, all_phases = trainer.progress, (*trainer.earlier, trainer.progress)
    return ModelRecord(
        fold=trainer.fold,
        labels=labels,
        best_epoch=state.first_epoch + state.best_epoch + 1,
        val_auc_macro=round(state.best_auc, 6),
        epochs_run=len(history(trainer)),
        steps=sum(progress.steps for progress in all_phases),
        skipped_batches=sum(progress.skipped for progress in all_phases),
        n_parameters=sum(parameter.numel() for parameter in trainer.predictor.parameters()),
        device=trainer.device.type,
        precision=trainer.precision,
        arithmetic=arithmetic_record(trainer.device.type),
        params=trained_params(trainer.params),
        data=provenance.data,
        code=provenance.code,
        weights=trainer.predictor.backbone.weights,
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Of the libraries that decide a result's last digits; Pillow where the store holds JPEGs."""
    return {
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
    }
