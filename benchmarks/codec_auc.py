"""What JPEG does to the AUC of the phantom's networks: the part of the benchmark `codec` that trains."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.harness import ROOT, Table
from couplet.evaluation.intervals import bootstrap_macro_auc, macro_auc_interval, resample_weights
from couplet.evaluation.metrics import macro_auc
from couplet.project.paths import fold_predictions
from couplet.results.manifest import read_folds, read_manifest, read_predictions

sys.path.append(str(ROOT / "tests"))  # for what tests share
from projects import new_project  # type: ignore[import-not-found]

SEEDS = (42, 43)
RESAMPLES = 1000
NOTES = [
    "AUC: the committed phantom settings, 72 px. Out of fold, with the interval over patients; a difference is of the "
    f"same images and seed, with the 2.5 and 97.5 % quantiles of {RESAMPLES} resamples of patients. These intervals "
    "know nothing of chance in training, which is as large: compare the seeds.",
    "So the line to read is that of networks trained on raw pixels and scored on JPEGs: there, pixels alone differ.",
]
# Imports once for all stages; DVC would start each as a process of its own.
STAGES = """
import sys
sys.path.insert(0, "src")
from couplet.stages.evaluate_fold import evaluate_fold
from couplet.stages.prepare import prepare
from couplet.stages.split_mis import split_mis
from couplet.stages.train_fold import train_fold

prepare()
split_mis()
for fold in (0, 1, 2):
    if sys.argv[1] == "train":
        train_fold(fold)
    evaluate_fold(fold)
"""
Run = tuple[str, str, int]  # codec trained on, codec scored on, seed
Row = list[str | float | int]


class Scored(NamedTuple):
    """Truth and probabilities of all validation images of a run, their patients and their folds."""

    truth: np.ndarray
    scores: np.ndarray
    patients: np.ndarray
    folds: np.ndarray


def phantom_runs(folder: Path) -> dict[Run, Scored]:
    """For each seed: networks trained on raw pixels, scored on them and on JPEGs, and networks trained on JPEGs."""
    project = new_project(folder / "project", "phantom", folder / "phantom", {})
    runs = {}
    for seed in SEEDS:
        for trained, scored in (("raw", "raw"), ("raw", "jpeg"), ("jpeg", "jpeg")):
            project.set_params({"seed": seed, "image.codec": scored})
            project.run("python", "-c", STAGES, "train" if trained == scored else "keep")
            runs[trained, scored, seed] = out_of_fold(project.folder)
    return runs


def out_of_fold(folder: Path) -> Scored:
    with contextlib.chdir(folder):
        manifest = read_manifest()
        folds = read_folds(manifest)
        scores = np.full(manifest.truth.shape, np.nan)
        for fold in (name for name in np.unique(folds) if name.isdecimal()):
            rows = folds == fold
            scores[rows] = read_predictions(fold_predictions(int(fold)), manifest.labels, manifest.ids[rows])
    used = ~np.isnan(scores).any(axis=1)
    patients = manifest.table["patient_id"].to_numpy()
    return Scored(manifest.truth[used], scores[used], patients[used], folds[used])


def auc_table(runs: dict[Run, Scored]) -> tuple[Table, float]:
    """The table, and the largest change of a network's out-of-fold AUC when it is shown JPEGs."""
    rows: list[Row] = []
    changes = []
    for (trained, scored, seed), run in runs.items():
        parts = [run.folds == fold for fold in np.unique(run.folds)]
        of_folds = [macro_auc(run.truth[part], run.scores[part])[0] for part in parts]
        whole, reference = macro_auc_interval(run.truth, run.scores, run.patients), runs["raw", "raw", seed]
        minus_raw = ""
        if (trained, scored) != ("raw", "raw"):
            difference, low, high = paired_difference(run, reference)
            minus_raw = f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"
            changes += [abs(difference)] if trained == "raw" else []
        shown = [f"{auc:.4f}" for auc in (*of_folds, float(whole.auc))]
        rows.append([trained, scored, str(seed), *shown, f"{whole.low:.4f} to {whole.high:.4f}", minus_raw])
    folds = [f"fold {fold}" for fold in range(len(parts))]
    columns = ["trained on", "scored on", "seed", *folds, "out of fold", "95 %", "minus raw"]
    return Table("Macro-AUC of the phantom", columns, rows), max(changes)


def paired_difference(run: Scored, reference: Scored) -> tuple[float, float, float]:
    """Macro-AUC minus the reference's on the same images, and its interval over patients."""
    n = len(np.unique(run.patients))
    draws = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
    weights = resample_weights(draws, len(run.patients), run.patients)
    ours, theirs = (bootstrap_macro_auc(x.truth, x.scores, weights) for x in (run, reference))
    low, high = np.quantile(ours - theirs, [0.025, 0.975])
    difference = macro_auc(run.truth, run.scores)[0] - macro_auc(reference.truth, reference.scores)[0]
    return difference, float(low), float(high)
