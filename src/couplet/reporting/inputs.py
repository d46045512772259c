"""Everything the report reads, in one typed object, and what it refuses to mix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from couplet.evaluation.metrics import auc_per_label, macro_auc
from couplet.project import paths
from couplet.project.errors import UserError
from couplet.project.files import RESTORE, read_record
from couplet.results.manifest import (
    Manifest,
    numbers,
    read_folds,
    read_manifest,
    read_predictions,
    read_table,
)
from couplet.running.stale import refuse_stale_folds
from couplet.settings.params import Params, flatten, load_params
from couplet.settings.presets import differences_from_preset, preset_names

# What the folds of one run must share, with the word that the error uses.
SHARED = {"labels": "labels", "params": "settings", "data": "data", "code": "code", "weights": "weights"}

# What the report reads of each file, and of which kind it must be (`object`: may be null).
CONFIG: dict[str, type] = {
    **dict.fromkeys(("fold", "best_epoch", "epochs_run", "skipped_batches", "n_parameters"), int),
    **dict.fromkeys(("device", "precision", "code", "weights"), str),
    **dict.fromkeys(("params", "data", "versions", "arithmetic"), dict),
    "labels": list,
    "val_auc_macro": float,
}
SCORES: dict[str, type] = {"auc_macro": object, "top3": dict, "n_images": int, "labels_skipped": list}
SPLIT: dict[str, type] = {
    **dict.fromkeys(
        ("n_patients", "patients_in_two_folds", "patients_in_train_and_test", "splitter"), object
    ),
    **dict.fromkeys(("label_distribution_deviation", "label_pair_distribution_deviation"), object),
    "n_images": int,
}
HISTORY = ("epoch", "train_loss", "val_auc_macro", "lr", "mean_abs_coupling")
QUARANTINE = ("image_id", "part", "path", "reason")


@dataclass(frozen=True)
class FoldRun:
    """One fold: its model's record, its out-of-fold predictions and their metrics."""

    fold: int
    config: dict[str, Any]
    metrics: dict[str, Any]
    auc: np.ndarray  # (L,) per label, NaN where undefined
    history: pd.DataFrame  # one row per epoch
    couplings: np.ndarray | None  # (L, L), rows sources, columns targets; None without a refiner
    rows: np.ndarray  # (n_k,) positions in the manifest
    probabilities: np.ndarray  # (n_k, L), of these rows


@dataclass(frozen=True)
class Run:
    """One run of the whole pipeline, as its files describe it. N images, L labels, K folds."""

    params: Params
    params_text: str
    differences: list[tuple[str, Any, Any]] | None  # key, the preset's value, ours; None: no such preset
    manifest: Manifest
    fold_of: np.ndarray  # (N,) text: "0" ... "test", or "train" with split.holdout
    quarantine: pd.DataFrame
    notes: dict[str, int]  # what the data set's own rules count, for example images without annotations
    split: dict[str, Any]  # metrics/split.json
    folds: list[FoldRun]
    oof_rows: np.ndarray  # (n,) positions of the images predicted out of fold, ascending
    oof_probabilities: np.ndarray  # (n, L), each by the one model that was not trained on the image
    ensemble: dict[str, Any]  # metrics/ensemble.json
    test_rows: np.ndarray  # (m,) positions in the manifest
    test_by_fold: np.ndarray  # (K, m, L)
    test_probabilities: np.ndarray  # (m, L), mean over the folds

    @property
    def labels(self) -> list[str]:
        """Names of the L labels."""
        return self.manifest.labels

    @property
    def truth(self) -> np.ndarray:
        """(N, L): 0, 1 or NaN."""
        return self.manifest.truth

    @property
    def patients(self) -> np.ndarray:
        """(N,) patient of each image; an image without one stands for itself."""
        named = self.manifest.table["patient_id"].to_numpy(dtype=str)
        return np.where(named == "", self.manifest.ids.astype(str), named)

    @property
    def mean_couplings(self) -> np.ndarray | None:
        """(L, L) mean over the folds of the masked matrix A; None without a refiner."""
        matrices = [fold.couplings for fold in self.folds if fold.couplings is not None]
        return np.mean(matrices, axis=0) if matrices else None

    @property
    def has_test(self) -> bool:
        """Whether there is a test part that every fold has predicted."""
        return len(self.test_rows) > 0

    @property
    def test_labelled(self) -> bool:
        """Whether any label of the test part is known."""
        return bool(np.isfinite(self.truth[self.test_rows]).any())


def read_run() -> Run:
    """Read the current project's files.

    Raises:
        UserError: a file is missing or does not fit the others; a fold is left over from another run; the
            folds' records differ in settings, data, code or labels; params.yaml is not what the folds were
            trained with; the metrics are not of these predictions.
    """
    params = load_params()
    refuse_stale_folds(params.split.folds)
    manifest = read_manifest()
    fold_of = read_folds(manifest)
    folds = [_read_fold(fold, manifest, fold_of) for fold in params.split.folds]
    refuse_mixed_folds({fold.fold: fold.config for fold in folds})
    refuse_other_params(params, folds[0].config)
    oof_rows = np.concatenate([fold.rows for fold in folds])
    order = np.argsort(oof_rows)
    test_rows = np.flatnonzero(fold_of == "test")
    files = [paths.fold_test_predictions(fold) for fold in params.split.folds]
    *by_fold, mean = [
        read_predictions(path, manifest.labels, manifest.ids[test_rows])
        if len(test_rows)
        else np.zeros((0, len(manifest.labels)))
        for path in (*files, paths.ENSEMBLE / "test.csv")
    ]
    run = Run(
        params=params,
        params_text=paths.PARAMS.read_text(encoding="utf-8"),
        differences=differences_from_preset(params) if params.preset in preset_names() else None,
        manifest=manifest,
        fold_of=fold_of,
        quarantine=read_table(paths.QUARANTINE, QUARANTINE, QUARANTINE),
        notes=read_record(paths.LABELS, notes=dict)["notes"],
        split=read_record(paths.SPLIT_METRICS, **SPLIT),
        folds=folds,
        oof_rows=oof_rows[order],
        oof_probabilities=np.concatenate([fold.probabilities for fold in folds])[order],
        ensemble=_read_ensemble(),
        test_rows=test_rows,
        test_by_fold=np.stack(by_fold),
        test_probabilities=mean,
    )
    refuse_other_metrics(run)
    return run


# --- refusals ----------------------------------------------------------------------------------------------


def refuse_mixed_folds(configs: dict[int, dict[str, Any]]) -> None:
    """Raise UserError if the folds' config.json differ in what one run must share, naming fold and key."""
    first, *others = configs
    for fold in others:
        for key, word in SHARED.items():
            mine, theirs = configs[fold].get(key), configs[first].get(key)
            if mine != theirs:
                raise UserError(
                    f"{paths.model_dir(fold)}/config.json has other {word} than fold {first}: "
                    f"{_first_difference(key, mine, theirs)}; folds of different runs cannot be mixed: "
                    "run `dvc repro`"
                )


def refuse_other_params(params: Params, config: dict[str, Any]) -> None:
    """Raise UserError if the models were trained with other settings than params.yaml holds now."""
    now = flatten(params.as_dict())
    for key, value in flatten(config.get("params", {})).items():
        if key in now and now[key] != value:
            raise UserError(
                f"{paths.PARAMS}: {key} is {now[key]!r}, but the models were trained with {value!r}: "
                "run `dvc repro`, or restore params.yaml"
            )


def refuse_other_metrics(run: Run) -> None:
    """Raise UserError if a metrics file or the ensemble does not belong to the predictions that are here."""
    parts = {
        "oof": (run.oof_rows, run.oof_probabilities),
        "test": (run.test_rows, run.test_probabilities),
    }
    scored = [(paths.fold_metrics(f.fold), "", f.metrics, f.rows, f.probabilities) for f in run.folds]
    scored += [
        (paths.ENSEMBLE_METRICS, f"{part}.", metrics, *parts[part]) for part, metrics in run.ensemble.items()
    ]
    for path, prefix, metrics, rows, probabilities in scored:
        if metrics["n_images"] != len(rows):
            raise UserError(
                f"{path}: {prefix}n_images is {metrics['n_images']}, but {len(rows)} images were predicted: "
                "run `dvc repro`"
            )
        found, _ = macro_auc(run.truth[rows], probabilities)
        written = np.nan if metrics["auc_macro"] is None else metrics["auc_macro"]
        if not np.isclose(found, written, rtol=0, atol=1e-4, equal_nan=True):
            raise UserError(
                f"{path}: {prefix}auc_macro is {metrics['auc_macro']}, but the predictions give {found:.4f}: "
                "run `dvc repro`"
            )
    if not np.allclose(run.test_by_fold.mean(axis=0), run.test_probabilities, rtol=0, atol=1e-5):
        raise UserError(
            f"{paths.ENSEMBLE / 'test.csv'} is not the mean of the folds in {paths.TEST_PREDICTIONS}: run `dvc repro`"
        )


def _first_difference(key: str, mine: Any, theirs: Any) -> str:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        ours, others = flatten(mine), flatten(theirs)
        name = next(name for name in [*ours, *others] if ours.get(name) != others.get(name))
        key, mine, theirs = f"{key}.{name}", ours.get(name), others.get(name)
    return f"{key} is {mine!r}, there {theirs!r}"


# --- reading -----------------------------------------------------------------------------------------------


def _read_fold(fold: int, manifest: Manifest, fold_of: np.ndarray) -> FoldRun:
    folder = paths.model_dir(fold)
    config = read_record(folder / "config.json", **CONFIG)
    if config["labels"] != manifest.labels:
        raise UserError(f"{folder}/config.json has other labels than {paths.LABELS}: run `dvc repro`")
    rows = np.flatnonzero(fold_of == str(fold))
    probabilities = read_predictions(paths.fold_predictions(fold), manifest.labels, manifest.ids[rows])
    return FoldRun(
        fold=fold,
        config=config,
        metrics=read_record(paths.fold_metrics(fold), **SCORES),
        auc=auc_per_label(manifest.truth[rows], probabilities),
        history=read_table(folder / "history.csv", (), HISTORY).apply(pd.to_numeric, errors="coerce"),
        couplings=_read_couplings(fold, manifest.labels),
        rows=rows,
        probabilities=probabilities,
    )


def _read_couplings(fold: int, labels: list[str]) -> np.ndarray | None:
    path = paths.model_dir(fold) / "couplings.csv"
    table = read_table(path, ("source",))
    if list(table.columns) != ["source", *labels] or list(table["source"]) not in ([], labels):
        raise UserError(f"{path} has other labels than {paths.LABELS}: run `dvc repro`")
    return numbers(table[labels], path) if len(table) else None


def _read_ensemble() -> dict[str, Any]:
    content = read_record(paths.ENSEMBLE_METRICS, oof=dict)
    for part, scores in content.items():
        for key, kind in SCORES.items():
            if part not in ("oof", "test") or not isinstance(scores.get(key), kind):
                raise UserError(f"{paths.ENSEMBLE_METRICS}: {part}.{key} is missing or not ours: {RESTORE}")
    return content
