"""fresh_patients: the committed run's models on phantom patients whom nobody chose anything on. A study.

Patients of another seed are drawn and prepared as the phantom's are, predicted by the folds' models of the run in
this checkout (`make repro` first), calibrated with its calibration.json and given sets with its conformal.npz.
Nothing is fitted here.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness import ROOT, Section, Size, Table, at_least, at_most, figure, run_command
from benchmarks.pipeline import cohort_of
from couplet.datasets.phantom import draw_missing
from couplet.evaluation.calibration.error import brier_skills, log_losses, macro_parts, squared_errors
from couplet.evaluation.calibration.slopes import CalibrationLine, calibration_lines
from couplet.evaluation.hits import patient_shares
from couplet.evaluation.jackknife import auc_estimates
from couplet.evaluation.proportions import coefficient, mean, observed_over_expected
from couplet.evaluation.set_scores import set_scores
from couplet.evaluation.sets import prediction_sets, realised_coverage
from couplet.inference.calibrate import of_ensemble
from couplet.inference.ensemble import mean_over_folds, read_predicted
from couplet.project.project import Project
from couplet.results.calibrated import Calibrated, read_calibrated, set_categories
from couplet.results.calibration_tables import CLASSES, patient_coverage
from couplet.results.manifest import read_manifest
from couplet.results.predictions import as_read_back, read_predictions, write_predictions
from couplet.settings.params import load_params
from tests.support.projects import new_project

SEED = 4711  # of the drawing; the phantom's is 42
PATIENTS = {"full": 2_000, "tiny": 40}
COVERAGE = [
    "class",
    "view",
    "images",
    "coverage, mean over labels",
    "lowest label",
    "which",
    "in the range",
    "above",
    "below",
    "clearly below",
]
NOTES = [
    "Patients are drawn with another seed and predicted by all folds' models with flip TTA; calibrators and sets are "
    "the committed run's, from its images out of fold. Nobody chose an epoch, a setting or a threshold on these.",
    "Intervals are 95 %, by patient; those of means over labels too. Coverage is the mean over patients of the share "
    "of their images of the class whose set has the class.",
    "In the range: labels whose coverage lies where 95 % of runs lie that have as many patients of the class and view "
    "out of fold. Clearly below: their interval too. Sets of several folds are cautious, so more are above.",
]


@dataclass(frozen=True)
class Fresh:
    """What the models of K folds said of n images of new patients with L labels.

    Attributes:
        truth: (n, L) of 1, 0 or NaN.
        by_fold: (K, n, L) uncalibrated probabilities.
        patients: (n,) codes from 0.
        categories: (n,) the view of each image, or what the sets are made within.
    """

    truth: np.ndarray
    by_fold: np.ndarray
    patients: np.ndarray
    categories: np.ndarray


def run(size: Size) -> Section:
    committed = Project(ROOT)
    with tempfile.TemporaryDirectory() as name:
        return study(committed, Path(name), PATIENTS[size], cohort_of(load_params(committed.params))["size"])


def study(committed: Project, folder: Path, n_patients: int, side: int) -> Section:
    """Draw patients, ask the models of a finished run, and judge with what that run has fitted.

    Args:
        committed: a project after `dvc repro` on the phantom.
        folder: empty, for what is drawn and predicted.
        n_patients: how many are drawn.
        side: of the pictures, in pixels: that of the run's own.
    """
    params = load_params(committed.params)
    predicted = read_predicted(committed, params.split.folds)
    rows = predicted.oof_rows, predicted.test_rows
    calibrated = read_calibrated(predicted.manifest, predicted.fold_of, *rows, params)
    drawn: dict[str, object] = {"patients": n_patients, "size": side, "seed": SEED}
    draw_missing(folder / "raw/phantom", drawn)
    return judged(predict(committed, folder, drawn), calibrated, predicted.labels)


def predict(committed: Project, folder: Path, drawn: dict[str, object]) -> Fresh:
    """What the run's models say of the patients in `folder`/raw, who were drawn with these settings."""
    fresh = new_project(folder / "project", "phantom", folder / "raw", {})
    shutil.copy(committed.params, fresh.folder)
    fresh.set_params({"data.source_args": drawn})
    (fresh.folder / "data/models").symlink_to(committed.model(0).parent.absolute())
    fresh.run("python", "stages/prepare.py")
    # In a process of its own, with the arithmetic that the launchers fix before torch starts.
    paths = [str(fresh.folder / "stages"), str(fresh.folder / "src"), str(ROOT)]
    call = "import launcher; from benchmarks import fresh_patients; fresh_patients.write_fold_predictions()"
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; {call}"]
    run_command(command, fresh.folder, dict(os.environ))

    project = Project(fresh.folder)
    manifest, params = read_manifest(project), load_params(project.params)
    by_fold = [
        read_predictions(project.test_predictions(fold), manifest.labels, manifest.ids)
        for fold in params.split.folds
    ]
    return Fresh(
        truth=manifest.truth,
        by_fold=np.stack(by_fold),
        patients=np.unique(manifest.patients, return_inverse=True)[1],
        categories=set_categories(manifest, params.decision.within),
    )


def write_fold_predictions() -> None:
    """Predict every image of the project in the current directory with every fold's model."""
    from couplet.inference.fold import load_fold
    from couplet.inference.fold import predict as predict_rows
    from couplet.models.device import fix_torch

    project = Project()
    params = load_params(project.params)
    fix_torch(params.train.threads)
    manifest = read_manifest(project)
    every = np.arange(len(manifest.ids))
    for fold in params.split.folds:
        found = predict_rows(load_fold(fold, params, manifest), params, manifest, every, "new patients")
        write_predictions(project.test_predictions(fold), manifest.ids, manifest.labels, found)


# --- judging ------------------------------------------------------------------------------------------------------


def judged(fresh: Fresh, calibrated: Calibrated, labels: list[str]) -> Section:
    """The tables and what is promised, from the run's calibrators and sets as they are."""
    p = as_read_back(mean_over_folds(list(fresh.by_fold)))
    q = of_ensemble(calibrated.calibrators, calibrated.posterior)(p)
    n, n_patients = len(p), int(fresh.patients.max()) + 1
    lines = {"raw": calibration_lines(fresh.truth, p, fresh.patients)}
    lines["q"] = calibration_lines(fresh.truth, q, fresh.patients)
    slopes = {name: float(np.nanmean([line.slope for line in of])) for name, of in lines.items()}
    shape = f"{n:,} images of {n_patients:,} new patients"
    coverage, lowest, below = coverage_table(fresh, calibrated, labels)
    losses = log_losses(fresh.truth, q)
    claims = [
        at_most(f"calibrated log loss of {shape}", float(macro_parts(losses).mean()), 0.36),
        at_most(f"mean calibration slope of {shape}, off 1 by", abs(slopes["q"] - 1), 0.1),
        at_least(f"lowest mean coverage of a class in a view of {shape}", lowest, 0.88, ""),
        at_most(f"labels x classes x views of {shape} clearly below their range", below, 0),
    ]
    title = f"Calibration and prediction sets of {shape}"
    tables = [means_table(fresh, p, q, calibrated, slopes), label_table(fresh, p, q, lines["q"], labels)]
    return Section(title, [*tables, coverage], claims, NOTES)


def means_table(
    fresh: Fresh, p: np.ndarray, q: np.ndarray, calibrated: Calibrated, slopes: dict[str, float]
) -> Table:
    """Means over the labels, before and after calibration."""
    prevalence = np.array([np.nan if c.prevalence is None else c.prevalence for c in calibrated.calibrators])

    def of_cells(cells: np.ndarray) -> str:
        return mean(macro_parts(cells), fresh.patients).text()

    rows = [
        ["log loss", *(of_cells(log_losses(fresh.truth, one)) for one in (p, q))],
        ["Brier score", *(of_cells(squared_errors(fresh.truth, one)) for one in (p, q))],
        ["Brier skill", *(of_cells(brier_skills(fresh.truth, one, prevalence)) for one in (p, q))],
        ["calibration slope", *(f"{slopes[name]:.3f}" for name in ("raw", "q"))],
        ["macro-AUC", *(auc_estimates(fresh.truth, one, fresh.patients).macro.text() for one in (p, q))],
    ]
    return Table("Mean over the labels", ["", "uncalibrated", "calibrated"], [list(row) for row in rows])


def label_table(
    fresh: Fresh, p: np.ndarray, q: np.ndarray, lines: list[CalibrationLine], labels: list[str]
) -> Table:
    """Each label: log loss before and after, slope and observed / expected after."""
    rows: list[list[str | float | int]] = []
    raw, after = log_losses(fresh.truth, p), log_losses(fresh.truth, q)
    for i, (name, line) in enumerate(zip(labels, lines, strict=True)):
        slope = line.reason or coefficient(line.slope, line.slope_variance, line.n_patients).text(3)
        ratio = observed_over_expected(fresh.truth[:, i], q[:, i], fresh.patients).text(3)
        share = float(np.nanmean(fresh.truth[:, i]))
        losses = [f"{np.nanmean(one[:, i]):.4f}" for one in (raw, after)]
        rows.append([name, f"{share:.1%}", *losses, slope, ratio])
    columns = ["label", "positive", "log loss, uncalibrated", "calibrated", "slope", "observed / expected"]
    return Table("Each label", columns, rows)


def coverage_table(fresh: Fresh, calibrated: Calibrated, labels: list[str]) -> tuple[Table, float, int]:
    """Coverage per class and category; the lowest of its means over labels; how many labels are clearly below."""
    record, alpha = calibrated.conformal, calibrated.decision.alpha
    decisions = prediction_sets(record, fresh.by_fold, fresh.categories, alpha).decision
    expected_low, expected_high = realised_coverage(record.patients(), alpha)
    rows: list[list[str | float | int]] = []
    means, all_below = [], 0
    for y in (1, 0):
        for c, category in enumerate(calibrated.categories):
            chosen = fresh.categories == category
            scores = set_scores(fresh.truth[chosen], decisions[chosen])
            hits = (scores.coverage_absent, scores.coverage_present)[y]
            who = np.unique(fresh.patients[chosen], return_inverse=True)[1]
            shares = patient_shares(hits, who)
            macro = mean(macro_parts(shares), np.arange(len(shares)))
            each = [patient_coverage(column, who) for column in hits.T]
            values = np.array([np.nan if one.value is None else one.value for one in each])
            highest = np.array([np.nan if one.high is None else one.high for one in each])
            low, high = expected_low[:, y, c], expected_high[:, y, c]
            worst = int(np.nanargmin(values))
            below = int((highest < low).sum())
            means.append(np.nan if macro.value is None else macro.value)
            all_below += below
            what: list[str | float | int] = [CLASSES[y], category, int(chosen.sum())]
            covered = [macro.text(3), each[worst].text(3), labels[worst]]
            counts = [int(found.sum()) for found in ((values >= low) & (values <= high), values > high)]
            rows.append([*what, *covered, *counts, int((values < low).sum()), below])
    single = set_scores(fresh.truth, decisions).singletons
    caption = f"Prediction sets at alpha {alpha:g}; {figure(100 * float(np.nanmean(single)))} % of cells have one class"
    return Table(caption, COVERAGE, rows), float(np.nanmin(means)), all_below
