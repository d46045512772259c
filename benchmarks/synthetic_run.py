"""A run of any size whose predictions are made up: every file that ensemble_predict and report read."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from benchmarks.metrics import PREVALENCES
from couplet.evaluation.calibration.inverse import output_of, posterior_of
from couplet.evaluation.metrics import all_scores
from couplet.images.codec import shard_name
from couplet.project.files import write_csv, write_json
from couplet.project.project import Project
from couplet.results.couplings import write_couplings
from couplet.results.folds import write_folds
from couplet.results.manifest import SHARD_STRIDE, Manifest, read_manifest, write_manifest
from couplet.results.model_record import ModelRecord, trained_on, trained_params, write_model_record
from couplet.results.predictions import read_predictions, write_predictions
from couplet.results.scores import write_fold_scores, write_split_metrics
from couplet.results.shard_list import StoredFile, write_shard_list
from couplet.settings.params import Params
from couplet.settings.presets import params_yaml
from couplet.stages.split_mis import split_metrics

STORE_SIZE = 32  # side of the stored pictures, which are noise: the page shows a few of each label


@dataclass(frozen=True)
class Scale:
    """How many images are predicted out of fold and in the test part, of how many patients each."""

    oof: int
    test: int
    oof_patients: int
    test_patients: int
    rounds: int


# --- in a process of its own, in the folder of the project ---------------------------------------------------------


def write_run(scale: str) -> None:
    """Write all that ensemble_predict and report read, but what ensemble_predict writes for report."""
    wanted, project = Scale(**json.loads(scale)), Project()
    random = np.random.default_rng(0)
    n = wanted.oof + wanted.test
    is_test = np.arange(n) >= wanted.oof
    # Every patient has an image; the others are dealt by chance, so that some have many.
    patient = np.concatenate(
        [
            np.arange(wanted.oof_patients),
            random.integers(0, wanted.oof_patients, wanted.oof - wanted.oof_patients),
            wanted.oof_patients + np.arange(wanted.test_patients),
            wanted.oof_patients
            + random.integers(0, wanted.test_patients, wanted.test - wanted.test_patients),
        ]
    )
    n_patients, n_labels = wanted.oof_patients + wanted.test_patients, len(PREVALENCES)
    labels = [f"Label {i + 1}" for i in range(n_labels)]
    log_odds = 1.2 * random.normal(size=(n_patients, n_labels))[patient] + random.normal(size=(n, n_labels))
    log_odds += 1.6 * np.log(PREVALENCES / (1 - PREVALENCES))
    truth = (random.random(log_odds.shape) < expit(log_odds)).astype(float)
    truth[random.random(truth.shape) < 0.02] = np.nan
    table = pd.DataFrame(
        {
            "image_id": [f"{i:08d}_001_001.jpg" for i in range(n)],
            "part": np.where(is_test, "test", "train"),
            "patient_id": patient.astype(str),
            "study_id": "1",
            "view": random.choice(["AP", "PA", "Lateral"], n, p=[0.45, 0.35, 0.2]),
            "sex": random.choice(["Female", "Male"], n_patients)[patient],
            "age": random.integers(19, 91, n_patients)[patient].astype(str),
            "width": 1000,
            "height": 1000,
            "shard": np.arange(n) // SHARD_STRIDE,
            "row": np.arange(n) % SHARD_STRIDE,
            "picture": [f"{i:016x}" for i in range(n)],
        }
    )
    write_manifest(project.prepared, table.join(pd.DataFrame(truth, columns=labels)), labels)
    image = {"store_size": STORE_SIZE, "channels": 1, "codec": "raw"}
    write_json(project.labels, {"labels": labels, "notes": {}, "image": image})
    write_csv(project.submission_rows, pd.DataFrame({"image_id": []}))
    write_csv(project.quarantine, pd.DataFrame(columns=["image_id", "part", "path", "reason"]))
    params = Params.model_validate({"image": {"size": STORE_SIZE, **image}, "model": {"pretrained": False}})
    project.params.write_text(params_yaml(params))
    manifest = read_manifest(project)
    fold_of = np.where(is_test, "test", (patient % len(params.split.folds)).astype(str))
    write_folds(manifest, fold_of)
    write_split_metrics(project, split_metrics(fold_of, manifest, "by chance"))
    write_predicted(manifest, fold_of, log_odds, params, random)


def write_predicted(
    manifest: Manifest, fold_of: np.ndarray, log_odds: np.ndarray, params: Params, random: np.random.Generator
) -> None:
    """Write what the folds' models leave, and pictures: all that ensemble_predict and report read beside the split.

    Args:
        manifest: of N images and L labels.
        fold_of: (N,) text.
        log_odds: (N, L) of a positive; each model has errors of its own.
        params: those in params.yaml.
        random: of the errors, the pictures and the couplings.
    """
    project, is_test = manifest.project, fold_of == "test"
    for fold in params.split.folds:
        eta = expit(log_odds + 0.7 * random.normal(size=log_odds.shape))
        p = output_of(eta, posterior_of(params.loss), 0.3).astype(np.float32).astype(np.float64)
        for rows, path in (
            (fold_of == str(fold), project.fold_predictions(fold)),
            (is_test, project.test_predictions(fold)),
        ):
            write_predictions(path, manifest.ids[rows], manifest.labels, p[rows])
    _write_pictures(manifest, random)
    for fold in params.split.folds:
        _write_model(manifest, params, fold, np.flatnonzero(fold_of == str(fold)), random)


def _write_pictures(manifest: Manifest, random: np.random.Generator) -> None:
    project, files = manifest.project, []
    for index, n in enumerate(np.bincount(manifest.positions // SHARD_STRIDE)):
        path = project.prepared / shard_name(index)
        np.save(path, random.integers(0, 256, (n, 1, STORE_SIZE, STORE_SIZE), dtype=np.uint8))
        files.append(StoredFile(path.name, path.stat().st_size, "0" * 64))
    write_shard_list(project.prepared, files)


def _write_model(
    manifest: Manifest, params: Params, fold: int, rows: np.ndarray, random: np.random.Generator
) -> None:
    project, labels, epochs = manifest.project, manifest.labels, params.schedule.epochs
    predicted = read_predictions(project.fold_predictions(fold), labels, manifest.ids[rows])
    scores = all_scores(manifest.truth[rows], predicted, labels)
    write_fold_scores(project, fold, scores)
    folder = project.model(fold)
    folder.mkdir(parents=True)
    write_model_record(
        folder,
        ModelRecord(
            fold=fold,
            labels=labels,
            best_epoch=epochs,
            val_auc_macro=scores["auc_macro"],
            epochs_run=epochs,
            steps=epochs,
            skipped_batches=0,
            n_parameters=1,
            device="cpu",
            precision="float32",
            arithmetic={"name": "none: nothing was trained"},
            params=trained_params(params),
            data=trained_on(project),
            code="none",
            weights="none",
            versions={},
        ),
    )
    number = np.arange(1, epochs + 1)
    history = {"epoch": number, "train_loss": 1 / number, "val_auc_macro": scores["auc_macro"], "lr": 1e-3}
    history |= {"mean_abs_coupling": 1e-3, "skipped_batches": 0}
    write_csv(folder / "history.csv", pd.DataFrame(history))
    couplings = random.normal(0, 0.01, (len(labels), len(labels)))
    np.fill_diagonal(couplings, 0)
    write_couplings(project, fold, labels, couplings)
