"""Stage evaluate_fold: all that one fold's model is asked: its held-out images, scored, and both test parts."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
import typer

from couplet.evaluation.metrics import all_scores, auc_per_label, average_precision_per_label
from couplet.inference.explain import explain
from couplet.inference.fold import load_fold, predict
from couplet.inference.gates import gates
from couplet.models.device import fix_torch
from couplet.project.console import say
from couplet.project.files import write_csv, write_npz
from couplet.project.project import Project
from couplet.results.external import read_external
from couplet.results.folds import read_folds
from couplet.results.manifest import read_manifest
from couplet.results.model_record import read_model_record, refuse_other_data
from couplet.results.predictions import write_predictions
from couplet.results.scores import write_fold_scores
from couplet.results.tables import read_table
from couplet.running.memory import keep_freed_memory
from couplet.settings.params import load_params


def evaluate_fold(fold: Annotated[int, typer.Argument(help="the fold whose images are predicted")]) -> None:
    """Predict and score the images of one fold with the model that was not trained on them; predict the test parts."""
    project = Project()
    params = load_params(project.params)
    params.split.refuse_unknown(fold)
    fix_torch(params.train.threads)
    keep_freed_memory()
    manifest = read_manifest(project)
    external = read_external(project, params, manifest.labels)
    folds = read_folds(manifest)
    scored_truth = manifest.scored_truth(params.inference.unscored)
    rows, test_rows = np.flatnonzero(folds == str(fold)), np.flatnonzero(folds == "test")
    history = read_table(project.model(fold) / "history.csv", ())
    model = load_fold(fold, params, manifest)
    refuse_other_data(read_model_record(project.model(fold)), project, f"dvc repro train_fold@{fold}")
    probabilities = predict(model, params, manifest, rows, "held-out images")
    test_probabilities = predict(model, params, manifest, test_rows, "test images")
    external_ids, external_probabilities = manifest.ids[:0], np.zeros((0, len(manifest.labels)))
    if external is not None:
        other = external.manifest
        external_ids, everything = other.ids, np.arange(len(other.ids))
        external_probabilities = predict(
            model.on(other), params, other, everything, "images of the external test"
        )
    explanations = explain(model, params, manifest, test_rows if len(test_rows) else rows)
    explanations |= gates(model, params, manifest, rows)
    truth = manifest.truth[rows]
    scores = all_scores(scored_truth[rows], probabilities, manifest.labels)

    write_predictions(project.fold_predictions(fold), manifest.ids[rows], manifest.labels, probabilities)
    write_predictions(
        project.test_predictions(fold), manifest.ids[test_rows], manifest.labels, test_probabilities
    )
    write_predictions(
        project.external_predictions(fold), external_ids, manifest.labels, external_probabilities
    )
    write_npz(project.explanations(fold), explanations)
    write_csv(project.per_label(fold), per_label_table(truth, probabilities, manifest.labels), "%.4f")
    write_csv(project.history(fold), history)
    write_fold_scores(project, fold, scores)
    say(f"fold {fold}: macro-AUC {scores['auc_macro']} on {len(rows)} images")


def per_label_table(truth: np.ndarray, probabilities: np.ndarray, labels: list[str]) -> pd.DataFrame:
    """AUC and average precision of each label (empty where undefined), with its positives and negatives."""
    return pd.DataFrame(
        {
            "label": labels,
            "auc": auc_per_label(truth, probabilities),
            "average_precision": average_precision_per_label(truth, probabilities),
            "positives": (truth == 1).sum(axis=0),
            "negatives": (truth == 0).sum(axis=0),
        }
    )
