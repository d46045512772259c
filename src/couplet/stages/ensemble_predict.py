"""Stage ensemble_predict: from the folds' predictions to the ensemble's.

Couplings that are fitted after training, mean, calibration, decisions, submission. No network: a changed threshold,
calibrator or strictness of the couplings costs seconds.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from couplet.evaluation.jackknife import auc_estimates
from couplet.evaluation.metrics import all_scores
from couplet.inference.calibrate import calibrate, headline_range
from couplet.inference.couple import couple, coupling_scores
from couplet.inference.ensemble import read_predicted, read_trained_couplings
from couplet.inference.external import predict_external
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.project.files import RESTORE, read_record, write_csv
from couplet.project.project import Project
from couplet.results.calibrated import write_calibrated
from couplet.results.calibration_scores import calibration_scores
from couplet.results.calibration_tables import DIGITS, labelled_parts, tables_by_path
from couplet.results.external import read_external, shared_with_training
from couplet.results.external_predictions import remove_external, write_external
from couplet.results.external_scores import NOTHING, external_scores, write_external_scores
from couplet.results.fitted_couplings import write_fitted, write_refined
from couplet.results.manifest import Manifest
from couplet.results.predictions import PROBABILITY, write_predictions
from couplet.results.scores import (
    with_interval,
    write_calibration_scores,
    write_coupling_scores,
    write_ensemble_scores,
)
from couplet.results.tables import read_table
from couplet.running.stale import refuse_stale_folds
from couplet.settings.params import load_params


def ensemble_predict() -> None:
    """Average the folds' probabilities on the test part, calibrate them, decide with them, and score all of it."""
    project = Project()
    params = load_params(project.params)
    refuse_stale_folds(params.split.folds, project)
    predicted = outputs = read_predicted(project, params.split.folds)
    manifest, test_ids = predicted.manifest, predicted.manifest.ids[predicted.test_rows]
    scored = manifest.scored(params.inference.unscored)
    trained = None
    if params.refiner.trained:
        trained = read_trained_couplings(project, params.split.folds, manifest.labels)
    coupled = couple(outputs, params) if params.refiner.fitted_afterwards else None
    if coupled:  # from here on everything is of the refined probabilities
        predicted = coupled.predicted
    submitted = submission(manifest, test_ids, predicted.test, predicted.oof, params.split.own_test)

    calibrated = calibrate(predicted, params, coupled.without if coupled else None)
    scores = {}
    for part in labelled_parts(predicted, calibrated, scored):
        macro = auc_estimates(part.truth, part.p, part.patients).macro
        found = all_scores(part.truth, part.p, manifest.labels)
        scores[part.name] = with_interval(found, macro.low, macro.high)
    calibration = calibration_scores(predicted, calibrated, scored)
    couplings = coupling_scores(outputs, params, coupled, trained)
    external = read_external(project, params, manifest.labels)
    external_found, external_content = None, NOTHING
    if external is not None:
        fitted = coupled.couplings if coupled else None
        external_found = predict_external(project, params.split.folds, external, calibrated, fitted)
        shared = shared_with_training(external, manifest, predicted.fold_of)
        external_content = external_scores(predicted, calibrated, external, external_found, shared)
    plots = tables_by_path(predicted, calibrated, headline_range(predicted, calibrated, params.seed))

    write_predictions(project.ensemble / "test.csv", test_ids, manifest.labels, predicted.test)
    write_csv(project.ensemble / "submission.csv", submitted, PROBABILITY)
    write_calibrated(manifest, predicted.oof_rows, predicted.test_rows, calibrated)
    if coupled:
        strictness = params.refiner.strictness
        write_fitted(project, manifest.labels, coupled.couplings, strictness, coupled.gains)
        write_refined(project, params.split.folds, predicted)
    if external is not None and external_found is not None:
        write_external(project, external, external_found)
    else:
        remove_external(project)
    for path, table in plots.items():
        write_csv(path, table, DIGITS)
    write_ensemble_scores(project, scores)
    write_calibration_scores(project, calibration)
    write_coupling_scores(project, couplings)
    write_external_scores(project, external_content)
    for name, values in scores.items():
        say(f"ensemble, {name}: macro-AUC {values['auc_macro']} on {values['n_images']} images")
    for name, values in calibration.items():
        say(f"ensemble, {name}: log loss {values['log_loss_raw']}, calibrated {values['log_loss']}")
    if coupled:
        won = coupled.gains["oof"]
        say(
            f"couplings, out of fold: macro-AUC {won.auc.text(5)}, log loss per image {won.log_loss.text(5)} gained"
        )
    say(f"couplings: {couplings['verdict']}")
    if external is not None:
        macro, n = external_content["external"]["auc_macro"], external_content["labels_scored"]
        say(f"ensemble, external: macro-AUC {macro} of {n} labels on {len(external.manifest.ids)} images")
    if params.decision.within == "view" and not calibrated.by_view:
        say("no view is known: prediction sets keep their promise over all images together")


def submission(
    manifest: Manifest, test_ids: np.ndarray, ensemble: np.ndarray, oof: np.ndarray, own_test: bool = True
) -> pd.DataFrame:
    """The data set's own table, in its own order of rows and columns.

    A quarantined test image must have a row too: it gets each label's mean out-of-fold probability, which is
    what is known of an image that nobody can see. The number of such rows is printed and in the report.
    """
    path = manifest.project.submission_rows
    columns = tuple(read_table(path, required=("image_id",)).columns)
    wanted = read_table(path, columns)
    # A test part that was dealt after prepare: the data set itself has no submission of it.
    if wanted.empty or not own_test:
        wanted = pd.DataFrame({"image_id": test_ids})
    id_column = wanted.columns[0]
    predicted = pd.DataFrame(ensemble, columns=manifest.labels, index=test_ids)
    rows = predicted.reindex(wanted["image_id"])
    unseen = int(rows.isna().any(axis=1).sum())
    if unseen:
        say(f"submission: {unseen} test images could not be read and get each label's mean probability")
    rows = rows.fillna(dict(zip(manifest.labels, oof.mean(axis=0), strict=True)))
    rows.insert(0, id_column, wanted[id_column].to_numpy())
    asked = _submission_columns(manifest, id_column) if own_test else [id_column, *manifest.labels]
    return rows.reset_index(drop=True)[asked]


def _submission_columns(manifest: Manifest, id_column: str) -> list[str]:
    usual = [id_column, *manifest.labels]
    path = manifest.project.labels
    columns = read_record(path, labels=list).get("submission_columns", usual)
    if not isinstance(columns, list) or sorted(map(str, columns)) != sorted(usual):
        raise UserError(f"{path}: submission_columns are not {id_column!r} and the labels: {RESTORE}")
    return columns
