"""trust: ensemble_predict on a large data set, whole and step by step: calibration, thresholds, sets, intervals.

Predictions are synthetic; they are written, read and judged as those of a run.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from benchmarks.harness import ROOT, CommandRun, Section, Size, Table, at_most, run_command
from benchmarks.metrics import PREVALENCES
from couplet.evaluation.calibration.inverse import output_of, posterior_of
from couplet.evaluation.jackknife import auc_estimates
from couplet.inference.calibrate import calibrate, headline_range
from couplet.inference.ensemble import read_predicted
from couplet.project.files import write_csv, write_json
from couplet.project.project import Project
from couplet.results.calibrated import read_calibrated, write_calibrated
from couplet.results.calibration_scores import calibration_scores
from couplet.results.calibration_tables import labelled_parts, tables_by_path
from couplet.results.folds import write_folds
from couplet.results.manifest import read_manifest, write_manifest
from couplet.results.predictions import write_predictions
from couplet.settings.params import Params, load_params
from couplet.settings.presets import params_yaml

SECONDS, MEGABYTES = 60, 2048


@dataclass(frozen=True)
class Scale:
    """How many images are predicted out of fold and in the test part, of how many patients each."""

    oof: int
    test: int
    oof_patients: int
    test_patients: int
    rounds: int


SCALES = {
    "full": Scale(108_494, 20_000, 30_000, 5_500, rounds=3),
    "tiny": Scale(900, 300, 250, 80, rounds=1),
}
STAGE = "from couplet.stages.ensemble_predict import ensemble_predict; ensemble_predict()"
NOTES = [
    "Predictions are synthetic: 14 labels of 4 to 45 %, three models with errors of their own, outputs of a network "
    "trained with ASL (0, 4, 0.05), 2 % unknown cells, three views.",
    "The stage runs as a process of its own, imports and files included; its peak memory is the whole resident set. "
    "CPU seconds are on one core. Of several rounds the median.",
    "The steps were timed one after the other in another process.",
]


def run(size: Size) -> Section:
    scale = SCALES[size]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In processes of their own: the kernel counts this one's memory as that of each process that it starts.
        in_child("write_project", folder, json.dumps(asdict(scale)))
        rounds = [run_command([sys.executable, "-c", STAGE], folder) for _ in range(scale.rounds)]
        seconds = json.loads(in_child("timed_steps", folder).output.splitlines()[-1])
    shape = f"{scale.oof:,} x {len(PREVALENCES)} out of fold, {scale.test:,} test images"
    whole = [median(getattr(one, what) for one in rounds) for what in ("wall", "cpu", "peak_mb")]
    tables = [
        Table(f"ensemble_predict, {shape}", ["seconds", "CPU s", "peak MB"], [list(whole)]),
        Table("its steps", ["step", "CPU s"], [[step, used] for step, used in seconds.items()]),
    ]
    claims = [
        at_most(f"trust, ensemble_predict of {shape}: CPU seconds", whole[1], SECONDS, " s"),
        at_most(f"trust, ensemble_predict of {shape}: peak memory", whole[2], MEGABYTES, " MB"),
    ]
    return Section("Trust: calibration, decisions and intervals", tables, claims, NOTES)


def in_child(function: str, folder: Path, *arguments: str) -> CommandRun:
    """Run a function of this file in a process of its own, in the project's folder."""
    call = f"from benchmarks import trust; trust.{function}(*sys.argv[1:])"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {call}", *arguments]
    return run_command(command, folder)


# --- in processes of their own, in the folder of the project -----------------------------------------------------


def write_project(scale: str) -> None:
    """Write all that ensemble_predict reads."""
    wanted, project, params = Scale(**json.loads(scale)), Project(), Params()
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
            "sex": "F",
            "age": "50",
            "width": 1000,
            "height": 1000,
            "shard": np.arange(n) // 4096,
            "row": np.arange(n) % 4096,
            "picture": [f"{i:016x}" for i in range(n)],
        }
    )
    write_manifest(project.prepared, table.join(pd.DataFrame(truth, columns=labels)), labels)
    write_json(project.labels, {"labels": labels, "notes": {}})
    write_csv(project.submission_rows, pd.DataFrame({"image_id": []}))
    project.params.write_text(params_yaml(params))
    manifest = read_manifest(project)
    fold_of = np.where(is_test, "test", (patient % len(params.split.folds)).astype(str))
    write_folds(manifest, fold_of)
    for fold in params.split.folds:
        eta = expit(log_odds + 0.7 * random.normal(size=log_odds.shape))
        p = output_of(eta, posterior_of(params.loss), 0.3).astype(np.float32).astype(np.float64)
        for rows, path in (
            (fold_of == str(fold), project.fold_predictions(fold)),
            (is_test, project.test_predictions(fold)),
        ):
            write_predictions(path, manifest.ids[rows], labels, p[rows])


def timed_steps() -> None:
    """Print the CPU seconds of each of the stage's steps as JSON."""
    project, seconds = Project(), {}
    params = load_params(project.params)

    def timed(step: str, function: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = function()
        seconds[step] = time.process_time() - start
        return result

    predicted = timed("reading tables and predictions", lambda: read_predicted(project, params.split.folds))
    calibrated = timed(
        "calibrators, thresholds, sets, suspicious labels", lambda: calibrate(predicted, params)
    )
    spread = timed(
        "range of the headline thresholds, 200 resamples",
        lambda: headline_range(predicted, calibrated, params.seed),
    )
    parts = labelled_parts(predicted, calibrated)
    timed("intervals of AUC", lambda: [auc_estimates(one.truth, one.p, one.patients) for one in parts])
    timed("scores of probabilities and sets", lambda: calibration_scores(predicted, calibrated))
    timed("tables of dvc plots", lambda: tables_by_path(predicted, calibrated, spread))
    rows = predicted.oof_rows, predicted.test_rows
    timed(
        "writing what is calibrated and decided",
        lambda: write_calibrated(predicted.manifest, *rows, calibrated),
    )
    timed("reading it", lambda: read_calibrated(predicted.manifest, predicted.fold_of, *rows, params))
    print(json.dumps(seconds))
