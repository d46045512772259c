"""trust: ensemble_predict and report on a large data set; ensemble_predict step by step too.

Predictions are synthetic; they are written, read and judged as those of a run.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import ROOT, CommandRun, Section, Size, Table, at_most, run_command
from benchmarks.metrics import PREVALENCES
from benchmarks.synthetic_run import Scale
from couplet.evaluation.jackknife import auc_estimates
from couplet.inference.calibrate import calibrate, headline_range
from couplet.inference.ensemble import read_predicted
from couplet.project.project import Project
from couplet.results.calibrated import read_calibrated, write_calibrated
from couplet.results.calibration_scores import calibration_scores
from couplet.results.calibration_tables import labelled_parts, tables_by_path
from couplet.settings.params import load_params

SECONDS, MEGABYTES = 60, 2048


SCALES = {
    "full": Scale(108_494, 20_000, 30_000, 5_500, rounds=3),
    "tiny": Scale(900, 300, 250, 80, rounds=1),
}
STAGES = ("ensemble_predict", "report")
NOTES = [
    "Predictions are synthetic: 14 labels of 4 to 45 %, three models with errors of their own, outputs of a network "
    "trained with ASL (0, 4, 0.05), 2 % unknown cells, three views.",
    "Stored pictures are noise of 32 px; three views, both sexes and all ages are subgroups of the report.",
    "Each stage runs as a process of its own, imports and files included; its peak memory is the whole resident set. "
    "CPU seconds are on one core. Of several rounds the median.",
    "The steps were timed one after the other in another process.",
]


def run(size: Size) -> Section:
    scale = SCALES[size]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In processes of their own: the kernel counts this one's memory as that of each process that it starts.
        in_child("synthetic_run", "write_run", folder, json.dumps(asdict(scale)))
        rounds = {stage: [run_stage(stage, folder) for _ in range(scale.rounds)] for stage in STAGES}
        seconds = json.loads(in_child("trust", "timed_steps", folder).output.splitlines()[-1])
    shape = f"{scale.oof:,} x {len(PREVALENCES)} out of fold, {scale.test:,} test images"
    rows: list[list[str | float | int]] = []
    claims = []
    for stage, runs in rounds.items():
        wall, cpu, peak = (median(getattr(one, what) for one in runs) for what in ("wall", "cpu", "peak_mb"))
        rows.append([stage, wall, cpu, peak])
        claims.append(at_most(f"trust, {stage} of {shape}: CPU seconds", cpu, SECONDS, " s"))
        claims.append(at_most(f"trust, {stage} of {shape}: peak memory", peak, MEGABYTES, " MB"))
    tables = [
        Table(shape, ["stage", "seconds", "CPU s", "peak MB"], rows),
        Table(
            "Steps of ensemble_predict", ["step", "CPU s"], [[step, used] for step, used in seconds.items()]
        ),
    ]
    return Section("Trust: calibration, decisions and intervals", tables, claims, NOTES)


def run_stage(stage: str, folder: Path) -> CommandRun:
    """One stage as a process of its own."""
    call = f"from couplet.stages.{stage} import {stage}; {stage}()"
    return run_command([sys.executable, "-c", call], folder)


def in_child(module: str, function: str, folder: Path, *arguments: str) -> CommandRun:
    """Run a function of a benchmark in a process of its own, in the project's folder."""
    call = f"from benchmarks import {module}; {module}.{function}(*sys.argv[1:])"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {call}", *arguments]
    return run_command(command, folder)


# --- in processes of their own, in the folder of the project -----------------------------------------------------


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
