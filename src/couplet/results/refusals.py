"""What the report refuses to mix: folds of different runs, other settings, metrics of other predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from couplet.evaluation.metrics import macro_auc
from couplet.project.errors import UserError
from couplet.project.project import HERE, Project
from couplet.results.model_record import ModelRecord, refuse_other_data, refuse_other_store
from couplet.results.weights import read_weights_list
from couplet.settings.params import Params, flatten

if TYPE_CHECKING:
    from couplet.results.run import Run

# What the folds of one run must share, with the word that the error uses.
SHARED = {"labels": "labels", "params": "settings", "data": "data", "code": "code", "weights": "weights"}


def refuse_mixed_folds(records: dict[int, ModelRecord], project: Project = HERE) -> None:
    """Raise UserError if the folds' config.json differ in what one run must share, naming fold and key."""
    first, *others = records
    for fold in others:
        for key, word in SHARED.items():
            mine, theirs = getattr(records[fold], key), getattr(records[first], key)
            if mine != theirs:
                raise UserError(
                    f"{project.model(fold)}/config.json has other {word} than fold {first}: "
                    f"{_first_difference(key, mine, theirs)}; folds of different runs cannot be mixed: "
                    "run `dvc repro`"
                )


def refuse_other_params(params: Params, record: ModelRecord, project: Project = HERE) -> None:
    """Raise UserError if the models were trained with other settings than params.yaml holds now."""
    now = flatten(params.as_dict())
    for key, value in flatten(record.params).items():
        if key in now and now[key] != value:
            raise UserError(
                f"{project.params}: {key} is {now[key]!r}, but the models were trained with {value!r}: "
                "run `dvc repro`, or restore params.yaml"
            )


def refuse_other_inputs(params: Params, record: ModelRecord, project: Project = HERE) -> None:
    """Raise UserError if the store, the tables or the weights' list are others than the models were trained with.

    Args:
        params: the settings now.
        record: of one fold; `refuse_mixed_folds` has found that the others share its data and weights.
        project: where all of it is.
    """
    refuse_other_store(params, project)
    refuse_other_data(record, project, "dvc repro")
    listed = read_weights_list(project).get(params.model.backbone)
    if params.model.pretrained and record.weights != listed:
        raise UserError(
            f"{project.model(record.fold)} started from weights with the sha256 {record.weights[:12]}..., not those "
            f"of {params.model.backbone} that {project.weights_list} lists: run `dvc repro`"
        )


def refuse_other_metrics(run: Run) -> None:
    """Raise UserError if a metrics file or the ensemble does not belong to the predictions that are here."""
    project = run.manifest.project
    parts = {
        "oof": (run.oof_rows, run.oof_probabilities),
        "test": (run.test_rows, run.test_probabilities),
    }
    scored = [(project.fold_metrics(f.fold), "", f.metrics, f.rows, f.probabilities) for f in run.folds]
    scored += [
        (project.ensemble_metrics, f"{part}.", metrics, *parts[part])
        for part, metrics in run.ensemble.items()
    ]
    for path, prefix, metrics, rows, probabilities in scored:
        if metrics["n_images"] != len(rows):
            raise UserError(
                f"{path}: {prefix}n_images is {metrics['n_images']}, but {len(rows)} images were predicted: "
                "run `dvc repro`"
            )
        found, _ = macro_auc(run.scored_truth[rows], probabilities)
        written = np.nan if metrics["auc_macro"] is None else metrics["auc_macro"]
        if not np.isclose(found, written, rtol=0, atol=1e-4, equal_nan=True):
            raise UserError(
                f"{path}: {prefix}auc_macro is {metrics['auc_macro']}, but the predictions give {found:.4f}: "
                "run `dvc repro`"
            )
    if not np.allclose(run.test_by_fold.mean(axis=0), run.test_probabilities, rtol=0, atol=1e-5):
        raise UserError(
            f"{project.ensemble / 'test.csv'} is not the mean of the folds in {project.predictions / 'test'}: run "
            "`dvc repro`"
        )


def _first_difference(key: str, mine: Any, theirs: Any) -> str:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        ours, others = flatten(mine), flatten(theirs)
        name = next(name for name in [*ours, *others] if ours.get(name) != others.get(name))
        key, mine, theirs = f"{key}.{name}", ours.get(name), others.get(name)
    return f"{key} is {mine!r}, there {theirs!r}"
