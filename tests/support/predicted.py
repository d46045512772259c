"""A project as evaluate_fold leaves it, made up: everything that ensemble_predict reads, of a network trained with ASL."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from couplet.evaluation.calibration.inverse import output_of, posterior_of
from couplet.project.files import write_csv, write_json
from couplet.project.project import Project
from couplet.results.couplings import write_couplings
from couplet.results.folds import write_folds
from couplet.results.manifest import read_manifest, write_manifest
from couplet.results.predictions import write_predictions
from couplet.settings.params import Params
from couplet.settings.presets import params_yaml
from couplet.stages.ensemble_predict import ensemble_predict
from tests.support.params import params_with

LABELS = ["Common", "Rare", "Half known"]
PER_PATIENT = 3


def write_predicted(
    folder: Path,
    changes: Mapping[str, Any] | None = None,
    n_patients: int = 120,
    test: bool = True,
    test_labelled: bool = True,
    views: tuple[str, ...] = ("AP", "PA", "Lateral"),
    named_patients: bool = True,
    one_class: tuple[str, ...] = (),
    noise: float = 0.7,
) -> Project:
    """Write it; the same arguments give the same project.

    Args:
        folder: of the project.
        changes: settings that differ from the defaults, by dotted keys.
        n_patients: of three images each.
        test: whether there is a test part, a quarter of the patients.
        test_labelled: whether its labels are known.
        views: of a patient's images in turn; "" is not known.
        named_patients: False leaves patient_id blank.
        one_class: labels without a positive image.
        noise: standard deviation of each model's own error, in log odds of the posterior.
    """
    params = params_with(changes or {})
    random = np.random.default_rng(3)
    n = n_patients * PER_PATIENT
    patient = np.arange(n) // PER_PATIENT
    log_odds = random.normal(size=(n_patients, 3))[patient] + random.normal(size=(n, 3)) - [0.5, 2.5, 0.0]
    truth = (random.random((n, 3)) < expit(log_odds)).astype(float)
    truth[random.random(n) < 0.5, 2] = np.nan
    truth[:, [label in one_class for label in LABELS]] = 0
    is_test = (patient % 4 == 3) & test
    hidden = truth.copy()
    if not test_labelled:
        hidden[is_test] = np.nan

    project = Project(folder)
    table = pd.DataFrame(
        {
            "image_id": [f"{i:05d}.png" for i in range(n)],
            "part": np.where(is_test, "test", "train"),
            "patient_id": patient.astype(str) if named_patients else "",
            "study_id": "1",
            "view": np.resize(views, n),
            "sex": "F",
            "age": "50",
            "width": 100,
            "height": 120,
            "shard": 0,
            "row": np.arange(n),
            "picture": [f"{i:016x}" for i in range(n)],
        }
    ).join(pd.DataFrame(hidden, columns=LABELS))
    write_manifest(project.prepared, table, LABELS)
    write_json(project.labels, {"labels": LABELS, "notes": {}})
    write_csv(project.submission_rows, pd.DataFrame({"image_id": []}))
    project.params.write_text(params_yaml(params))
    manifest = read_manifest(project)
    folds = params.split.folds
    fold_of = (patient % len(folds)).astype(str)
    if len(folds) == 1:  # split.holdout: most patients are for training only
        fold_of = np.where(patient % 4 == 0, "0", "train")
    write_folds(manifest, np.where(is_test, "test", fold_of))
    fold_of = np.where(is_test, "test", fold_of)
    for fold in folds:
        p = outputs(log_odds + noise * random.normal(size=log_odds.shape), params)
        if params.refiner.trained:
            write_couplings(project, fold, LABELS, np.full((3, 3), 1e-3 * (fold + 1)) * (1 - np.eye(3)))
        for rows, path in (
            (fold_of == str(fold), project.fold_predictions(fold)),
            (is_test, project.test_predictions(fold)),
        ):
            write_predictions(path, manifest.ids[rows], LABELS, p[rows])
    return project


def outputs(log_odds: np.ndarray, params: Params) -> np.ndarray:
    """What a network that minimises the loss gives out for posteriors of these log odds, as float32."""
    posterior = posterior_of(params.loss)
    return output_of(expit(log_odds), posterior, 0.3).astype(np.float32).astype(np.float64)


def run_stage(project: Project) -> None:
    """Run ensemble_predict there."""
    with contextlib.chdir(project.root):
        ensemble_predict()


def written(project: Project) -> dict[str, bytes]:
    """Content of all that ensemble_predict writes, by path."""
    files = [
        path
        for folder in (project.ensemble, project.metrics, project.plots)
        for path in sorted(folder.glob("*"))
        if path.is_file()
    ]
    return {path.relative_to(project.root).as_posix(): path.read_bytes() for path in files}
