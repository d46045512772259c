"""Stage evaluate_fold: everything that one fold's model is asked: its held-out images, scored, and the test part."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
import typer

from couplet.evaluation.metrics import all_scores, auc_per_label, average_precision_per_label
from couplet.inference.explain import explain
from couplet.inference.fold import load_fold, predict
from couplet.models.device import fix_torch, keep_freed_memory
from couplet.project import paths
from couplet.project.console import say
from couplet.project.files import write_csv, write_json, write_npz
from couplet.results.manifest import read_folds, read_manifest, read_table, write_predictions
from couplet.settings.params import load_params


def evaluate_fold(fold: Annotated[int, typer.Argument(help="the fold whose images are predicted")]) -> None:
    """Predict and score the images of one fold with the model that was not trained on them; predict the test part."""
    params = load_params()
    params.split.refuse_unknown(fold)
    fix_torch(params.train.threads)
    keep_freed_memory()
    manifest = read_manifest()
    folds = read_folds(manifest)
    rows, test_rows = np.flatnonzero(folds == str(fold)), np.flatnonzero(folds == "test")
    history = read_table(paths.model_dir(fold) / "history.csv", ())
    model = load_fold(fold, params, manifest)
    probabilities = predict(model, params, manifest, rows, "held-out images")
    test_probabilities = predict(model, params, manifest, test_rows, "test images")
    explanations = explain(model, params, manifest, test_rows if len(test_rows) else rows)
    truth = manifest.truth[rows]
    scores = all_scores(truth, probabilities, manifest.labels)

    write_predictions(paths.fold_predictions(fold), manifest.ids[rows], manifest.labels, probabilities)
    write_predictions(
        paths.fold_test_predictions(fold), manifest.ids[test_rows], manifest.labels, test_probabilities
    )
    write_npz(paths.fold_explanations(fold), explanations)
    write_csv(paths.fold_per_label(fold), per_label_table(truth, probabilities, manifest.labels), "%.4f")
    write_csv(paths.fold_history(fold), history)
    write_json(paths.fold_metrics(fold), scores)
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
