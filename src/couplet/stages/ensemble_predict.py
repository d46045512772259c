"""Stage ensemble_predict: the mean of the folds' predictions of the test part, its scores, and the submission."""

from __future__ import annotations

import numpy as np
import pandas as pd

from couplet.evaluation.metrics import all_scores
from couplet.inference.ensemble import mean_over_folds
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.project.files import RESTORE, read_record, write_csv
from couplet.project.project import Project
from couplet.results.folds import read_folds
from couplet.results.manifest import Manifest, read_manifest
from couplet.results.predictions import PROBABILITY, gather_folds, read_predictions, write_predictions
from couplet.results.scores import write_ensemble_scores
from couplet.results.tables import read_table
from couplet.running.stale import refuse_stale_folds
from couplet.settings.params import load_params


def ensemble_predict() -> None:
    """Average the folds' probabilities on the test part and score the ensemble."""
    project = Project()
    params = load_params(project.params)
    refuse_stale_folds(params.split.folds, project)
    manifest = read_manifest(project)
    folds = read_folds(manifest)
    held_out = [(fold, np.flatnonzero(folds == str(fold))) for fold in params.split.folds]
    oof_rows, oof = gather_folds(
        (rows, read_predictions(project.fold_predictions(fold), manifest.labels, manifest.ids[rows]))
        for fold, rows in held_out
    )
    scores = {"oof": all_scores(manifest.truth[oof_rows], oof, manifest.labels)}

    test_rows = np.flatnonzero(folds == "test")
    test_ids = manifest.ids[test_rows]
    ensemble = mean_over_folds(
        [
            read_predictions(project.test_predictions(fold), manifest.labels, test_ids)
            for fold in params.split.folds
        ]
    )
    if np.isfinite(manifest.truth[test_rows]).any():
        scores["test"] = all_scores(manifest.truth[test_rows], ensemble, manifest.labels)
    submitted = submission(manifest, test_ids, ensemble, oof)

    write_predictions(project.ensemble / "test.csv", test_ids, manifest.labels, ensemble)
    write_csv(project.ensemble / "submission.csv", submitted, PROBABILITY)
    write_ensemble_scores(project, scores)
    for part, values in scores.items():
        say(f"ensemble, {part}: macro-AUC {values['auc_macro']} on {values['n_images']} images")


def submission(
    manifest: Manifest, test_ids: np.ndarray, ensemble: np.ndarray, oof: np.ndarray
) -> pd.DataFrame:
    """The data set's own table, in its own order of rows and columns.

    A quarantined test image must have a row too: it gets each label's mean out-of-fold probability, which is
    what is known of an image that nobody can see. The number of such rows is printed and in the report.
    """
    path = manifest.project.submission_rows
    columns = tuple(read_table(path, required=("image_id",)).columns)
    wanted = read_table(path, columns)
    if wanted.empty:  # the test part was split off after prepare: the data set itself has no submission
        wanted = pd.DataFrame({"image_id": test_ids})
    id_column = wanted.columns[0]
    predicted = pd.DataFrame(ensemble, columns=manifest.labels, index=test_ids)
    rows = predicted.reindex(wanted["image_id"])
    unseen = int(rows.isna().any(axis=1).sum())
    if unseen:
        say(f"submission: {unseen} test images could not be read and get each label's mean probability")
    rows = rows.fillna(dict(zip(manifest.labels, oof.mean(axis=0), strict=True)))
    rows.insert(0, id_column, wanted[id_column].to_numpy())
    return rows.reset_index(drop=True)[_submission_columns(manifest, id_column)]


def _submission_columns(manifest: Manifest, id_column: str) -> list[str]:
    usual = [id_column, *manifest.labels]
    path = manifest.project.labels
    columns = read_record(path, labels=list).get("submission_columns", usual)
    if not isinstance(columns, list) or sorted(map(str, columns)) != sorted(usual):
        raise UserError(f"{path}: submission_columns are not {id_column!r} and the labels: {RESTORE}")
    return columns
