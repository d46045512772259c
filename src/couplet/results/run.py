"""Everything the report reads, in one typed object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from couplet.evaluation.couplings.evidence import Gain
from couplet.evaluation.couplings.fit import LabelCouplings
from couplet.evaluation.metrics import auc_per_label
from couplet.project.errors import UserError
from couplet.project.project import HERE, Project
from couplet.results.calibrated import Calibrated, read_calibrated
from couplet.results.couplings import read_couplings
from couplet.results.external_predictions import ExternalRun, read_external_run
from couplet.results.fitted_couplings import read_fitted
from couplet.results.folds import read_folds
from couplet.results.leaks import Leaks, read_leaks
from couplet.results.manifest import Manifest, read_manifest
from couplet.results.model_record import ModelRecord, read_model_record
from couplet.results.predictions import gather_folds, read_predictions
from couplet.results.refusals import (
    refuse_mixed_folds,
    refuse_other_inputs,
    refuse_other_metrics,
    refuse_other_params,
)
from couplet.results.scores import (
    Scores,
    SplitMetrics,
    read_coupling_scores,
    read_ensemble_scores,
    read_fold_scores,
    read_split_metrics,
)
from couplet.results.tables import read_table
from couplet.running.stale import refuse_stale_folds
from couplet.settings.params import Params, load_params
from couplet.settings.presets import differences_from_preset, preset_names

# What the report reads of each file, and of which kind it must be (`object`: may be null).
HISTORY = ("epoch", "train_loss", "val_auc_macro", "lr", "mean_abs_coupling")
QUARANTINE = ("image_id", "part", "path", "reason")


@dataclass(frozen=True)
class FoldRun:
    """One fold: its model's record, its out-of-fold predictions and their metrics."""

    fold: int
    record: ModelRecord
    metrics: Scores
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
    split: SplitMetrics  # metrics/split.json
    leaks: Leaks  # what could make the numbers too good
    folds: list[FoldRun]
    oof_rows: np.ndarray  # (n,) positions of the images predicted out of fold, ascending
    # (n, L), each by the one model that was not trained on the image, and refined
    oof_probabilities: np.ndarray
    ensemble: dict[str, Scores]  # metrics/ensemble.json
    test_rows: np.ndarray  # (m,) positions in the manifest
    test_by_fold: np.ndarray  # (K, m, L)
    test_probabilities: np.ndarray  # (m, L), mean over the folds
    # Couplings fitted after training; the probabilities but the folds' own are refined.
    fitted: LabelCouplings | None
    coupling_gains: dict[str, Gain]  # of these, by part
    coupling_scores: dict[str, Any]  # metrics/couplings.json
    calibrated: (
        Calibrated  # probabilities, thresholds and sets of these rows; q = p with calibration.method none
    )
    external: ExternalRun | None = None  # the external test, if there is one

    @property
    def labels(self) -> list[str]:
        """Names of the L labels."""
        return self.manifest.labels

    @property
    def notes(self) -> dict[str, int]:
        """What the data set's own rules count, for example images without annotations."""
        return self.manifest.notes

    @property
    def truth(self) -> np.ndarray:
        """(N, L): 0, 1 or NaN."""
        return self.manifest.truth

    @property
    def scored(self) -> np.ndarray:
        """(L,) whether a label is in the means over labels (inference.unscored)."""
        return self.manifest.scored(self.params.inference.unscored)

    @property
    def scored_truth(self) -> np.ndarray:
        """(N, L): 0, 1 or NaN; NaN for every image of a label that is in no mean."""
        return self.manifest.scored_truth(self.params.inference.unscored)

    @property
    def patients(self) -> np.ndarray:
        """(N,) patient of each image; an image without one stands for itself."""
        return self.manifest.patients

    @property
    def couplings(self) -> np.ndarray | None:
        """(R, L, L) every matrix A of this run: of each fold's model, or the one that was fitted; None without."""
        if self.fitted is not None:
            return self.fitted.fitted.A[None]
        matrices = [fold.couplings for fold in self.folds if fold.couplings is not None]
        return np.stack(matrices) if matrices else None

    @property
    def oof_files(self) -> list[Path]:
        """What `oof_probabilities` were read from."""
        project = self.manifest.project
        if self.fitted is not None:
            return [project.refined_oof]
        return [project.fold_predictions(fold.fold) for fold in self.folds]

    @property
    def mean_couplings(self) -> np.ndarray | None:
        """(L, L) mean over the folds of the masked matrix A, or the fitted A; None without a refiner."""
        return None if self.couplings is None else self.couplings.mean(axis=0)

    @property
    def has_test(self) -> bool:
        """Whether there is a test part that every fold has predicted."""
        return len(self.test_rows) > 0

    @property
    def test_labelled(self) -> bool:
        """Whether any label of the test part is known."""
        return bool(np.isfinite(self.truth[self.test_rows]).any())


def read_run(project: Project = HERE) -> Run:
    """Read a project's files.

    Raises:
        UserError: a file is missing or does not fit the others; a fold is left over from another run; the
            folds' records differ in settings, data, code or labels; params.yaml, the tables, the store or the
            weights' list are not what the folds were trained with; the metrics are not of these predictions.
    """
    params = load_params(project.params)
    refuse_stale_folds(params.split.folds, project)
    manifest = read_manifest(project)
    fold_of = read_folds(manifest)
    folds = [_read_fold(fold, manifest, fold_of) for fold in params.split.folds]
    refuse_mixed_folds({fold.fold: fold.record for fold in folds}, project)
    refuse_other_params(params, folds[0].record, project)
    refuse_other_inputs(params, folds[0].record, project)
    oof_rows, oof_probabilities = gather_folds((fold.rows, fold.probabilities) for fold in folds)
    test_rows = np.flatnonzero(fold_of == "test")
    files = [project.test_predictions(fold) for fold in params.split.folds]
    fitted: LabelCouplings | None = None
    gains: dict[str, Gain] = {}
    if params.refiner.fitted_afterwards:
        fitted, gains = read_fitted(project, manifest.labels)
        files = [project.refined_test(fold) for fold in params.split.folds]
        oof_probabilities = read_predictions(project.refined_oof, manifest.labels, manifest.ids[oof_rows])
    *by_fold, mean = [
        read_predictions(path, manifest.labels, manifest.ids[test_rows])
        if len(test_rows)
        else np.zeros((0, len(manifest.labels)))
        for path in (*files, project.ensemble / "test.csv")
    ]
    run = Run(
        params=params,
        params_text=project.params.read_text(encoding="utf-8"),
        differences=differences_from_preset(params, project)
        if params.preset in preset_names(project)
        else None,
        manifest=manifest,
        fold_of=fold_of,
        quarantine=read_table(project.quarantine, QUARANTINE, QUARANTINE),
        split=read_split_metrics(project),
        leaks=read_leaks(project, params, manifest.members),
        folds=folds,
        oof_rows=oof_rows,
        oof_probabilities=oof_probabilities,
        ensemble=read_ensemble_scores(project),
        test_rows=test_rows,
        test_by_fold=np.stack(by_fold),
        test_probabilities=mean,
        fitted=fitted,
        coupling_gains=gains,
        coupling_scores=read_coupling_scores(project),
        calibrated=read_calibrated(manifest, fold_of, oof_rows, test_rows, params),
        external=read_external_run(project, params, manifest, fold_of),
    )
    refuse_other_metrics(run)
    return run


# --- reading -----------------------------------------------------------------------------------------------


def _read_fold(fold: int, manifest: Manifest, fold_of: np.ndarray) -> FoldRun:
    project = manifest.project
    folder = project.model(fold)
    record = read_model_record(folder)
    if record.labels != manifest.labels:
        raise UserError(f"{folder}/config.json has other labels than {project.labels}: run `dvc repro`")
    rows = np.flatnonzero(fold_of == str(fold))
    probabilities = read_predictions(project.fold_predictions(fold), manifest.labels, manifest.ids[rows])
    return FoldRun(
        fold=fold,
        record=record,
        metrics=read_fold_scores(project, fold),
        auc=auc_per_label(manifest.truth[rows], probabilities),
        history=read_table(folder / "history.csv", (), HISTORY).apply(pd.to_numeric, errors="coerce"),
        couplings=read_couplings(project, fold, manifest.labels),
        rows=rows,
        probabilities=probabilities,
    )
