"""Stage evaluate_fold: predict one fold's held-out images and score them."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
import typer

from couplet import paths
from couplet.console import say
from couplet.evaluation.metrics import all_scores, auc_per_label, average_precision_per_label
from couplet.files import write_csv, write_json
from couplet.inference.fold import predict_with_fold
from couplet.manifest import read_folds, read_manifest, read_table, write_predictions
from couplet.models.device import fix_arithmetic, keep_freed_memory
from couplet.params import load_params


def evaluate_fold(fold: Annotated[int, typer.Argument(help="the fold whose images are predicted")]) -> None:
    """Predict and score the images of one fold with the model that was not trained on them."""
    params = load_params()
    params.split.refuse_unknown(fold)
    fix_arithmetic(params.train.threads)
    keep_freed_memory()
    manifest = read_manifest()
    rows = np.flatnonzero(read_folds(manifest) == str(fold))
    history = read_table(paths.model_dir(fold) / "history.csv", ())
    probabilities = predict_with_fold(fold, params, manifest, rows, "held-out images")
    truth = manifest.truth[rows]
    scores = all_scores(truth, probabilities, manifest.labels)

    write_predictions(paths.fold_predictions(fold), manifest.ids[rows], manifest.labels, probabilities)
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
