"""Stage ensemble_predict: the mean of the folds' predictions of the test part, its scores, and the submission."""

from __future__ import annotations

import numpy as np
import pandas as pd

from couplet.evaluation.metrics import all_scores
from couplet.inference.ensemble import mean_over_folds
from couplet.project import paths
from couplet.project.console import say
from couplet.project.files import write_csv, write_json
from couplet.results.manifest import (
    PROBABILITY,
    Manifest,
    read_folds,
    read_manifest,
    read_predictions,
    read_table,
    write_predictions,
)
from couplet.running.stale import refuse_stale_folds
from couplet.settings.params import load_params


def ensemble_predict() -> None:
    """Average the folds' probabilities on the test part and score the ensemble."""
    params = load_params()
    refuse_stale_folds(params.split.folds)
    manifest = read_manifest()
    folds = read_folds(manifest)
    oof_rows, oof = out_of_fold(manifest, folds, params.split.folds)
    scores = {"oof": all_scores(manifest.truth[oof_rows], oof, manifest.labels)}

    test_rows = np.flatnonzero(folds == "test")
    test_ids = manifest.ids[test_rows]
    ensemble = mean_over_folds(
        [
            read_predictions(paths.fold_test_predictions(fold), manifest.labels, test_ids)
            for fold in params.split.folds
        ]
    )
    if np.isfinite(manifest.truth[test_rows]).any():
        scores["test"] = all_scores(manifest.truth[test_rows], ensemble, manifest.labels)
    submitted = submission(manifest, test_ids, ensemble, oof)

    write_predictions(paths.ENSEMBLE / "test.csv", test_ids, manifest.labels, ensemble)
    write_csv(paths.ENSEMBLE / "submission.csv", submitted, PROBABILITY)
    write_json(paths.ENSEMBLE_METRICS, scores)
    for part, values in scores.items():
        say(f"ensemble, {part}: macro-AUC {values['auc_macro']} on {values['n_images']} images")


def out_of_fold(manifest: Manifest, folds: np.ndarray, wanted: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n,) of all validated images and their out-of-fold probabilities (n, L), in manifest order."""
    rows = [np.flatnonzero(folds == str(fold)) for fold in wanted]
    parts = [
        read_predictions(paths.fold_predictions(fold), manifest.labels, manifest.ids[fold_rows])
        for fold, fold_rows in zip(wanted, rows, strict=True)
    ]
    order = np.argsort(np.concatenate(rows))
    return np.concatenate(rows)[order], np.concatenate(parts)[order]


def submission(
    manifest: Manifest, test_ids: np.ndarray, ensemble: np.ndarray, oof: np.ndarray
) -> pd.DataFrame:
    """The data set's own table, in its own row order.

    A quarantined test image must have a row too: it gets each label's mean out-of-fold probability, which is
    what is known of an image that nobody can see. The number of such rows is printed and in the report.
    """
    columns = tuple(read_table(paths.SUBMISSION_ROWS, required=("image_id",)).columns)
    wanted = read_table(paths.SUBMISSION_ROWS, columns)
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
    return rows.reset_index(drop=True)
