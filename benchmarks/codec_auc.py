"""codec_auc: what JPEG does to the AUC of the phantom's networks. A study, run when it is named."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from benchmarks.harness import Section, Size, Table, at_most
from benchmarks.pipeline import large_phantom
from benchmarks.resampling import bootstrap_macro_auc, resample_weights
from couplet.evaluation.jackknife import auc_estimates
from couplet.evaluation.metrics import macro_auc
from couplet.phantom.drawing import draw_phantom
from couplet.project.project import HERE
from couplet.results.folds import read_folds
from couplet.results.manifest import read_manifest
from couplet.results.predictions import read_predictions
from tests.support.projects import TINY, Project, new_project

SEEDS = {"full": (42, 43), "tiny": (42,)}
CHANGES: dict[Size, dict[str, Any]] = {
    "full": large_phantom(),
    "tiny": TINY | {"split.folds": [0, 1], "schedule.epochs": 2},
}
RESAMPLES = 1000
NOTES = [
    "AUC: the preset phantom_large, 72 px. Out of fold, with the interval over patients; a difference is of the "
    f"same images and seed, with the 2.5 and 97.5 % quantiles of {RESAMPLES} resamples of patients. These intervals "
    "know nothing of chance in training, which is as large: compare the seeds.",
    "So the line to read is that of networks trained on raw pixels and scored on JPEGs: there, pixels alone differ.",
]
Run = tuple[str, str, int]  # codec trained on, codec scored on, seed
Row = list[str | float | int]


class Scored(NamedTuple):
    """Truth and probabilities of all validation images of a run, their patients and their folds."""

    truth: np.ndarray
    scores: np.ndarray
    patients: np.ndarray
    folds: np.ndarray


def run(size: Size) -> Section:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if size == "tiny":
            draw_phantom(folder / "raw/phantom", n_patients=60, size=48)
        project = new_project(folder / "project", "phantom", folder / "raw", CHANGES[size])
        scores, change = auc_table(phantom_runs(project, SEEDS[size]))
    claim = at_most("phantom's macro-AUC, the same networks shown JPEGs, change", change, 0.001)
    return Section("What JPEG does to the AUC of the phantom's networks", [scores], [claim], NOTES)


def phantom_runs(project: Project, seeds: Iterable[int]) -> dict[Run, Scored]:
    """For each seed: networks trained on raw pixels, scored on them and on JPEGs, and networks trained on JPEGs."""
    runs = {}
    for seed in seeds:
        for trained, scored in (("raw", "raw"), ("raw", "jpeg"), ("jpeg", "jpeg")):
            project.set_params({"seed": seed, "image.codec": scored})
            run_stages(project, trains=trained == scored)
            runs[trained, scored, seed] = out_of_fold(project.folder)
    return runs


def run_stages(project: Project, trains: bool) -> None:
    """By the launchers: DVC would train again whenever the codec changes."""
    for stage in ("prepare", "split_mis"):
        project.run("python", f"stages/{stage}.py")
    for fold in yaml.safe_load((project.folder / "params.yaml").read_text())["split"]["folds"]:
        for stage in ("train_fold", "evaluate_fold") if trains else ("evaluate_fold",):
            project.run("python", f"stages/{stage}.py", str(fold))


def out_of_fold(folder: Path) -> Scored:
    with contextlib.chdir(folder):
        manifest = read_manifest()
        folds = read_folds(manifest)
        scores = np.full(manifest.truth.shape, np.nan)
        for fold in (name for name in np.unique(folds) if name.isdecimal()):
            rows = folds == fold
            scores[rows] = read_predictions(HERE.fold_predictions(fold), manifest.labels, manifest.ids[rows])
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
        whole = auc_estimates(run.truth, run.scores, run.patients).macro
        interval = whole.reason or f"{whole.low:.4f} to {whole.high:.4f}"
        reference = runs["raw", "raw", seed]
        minus_raw = ""
        if (trained, scored) != ("raw", "raw"):
            difference, low, high = paired_difference(run, reference)
            minus_raw = f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"
            changes += [abs(difference)] if trained == "raw" else []
        shown = [f"{auc:.4f}" for auc in (*of_folds, whole.value)]
        rows.append([trained, scored, str(seed), *shown, interval, minus_raw])
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
