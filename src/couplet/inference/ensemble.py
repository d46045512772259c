"""The fold ensemble: what the folds' models said of all images, put together."""

from __future__ import annotations

import numpy as np

from couplet.project.project import Project
from couplet.results.couplings import read_couplings
from couplet.results.folds import read_folds
from couplet.results.manifest import read_manifest
from couplet.results.predicted import Predicted
from couplet.results.predictions import as_read_back, gather_folds, read_predictions


def read_predicted(project: Project, folds: list[int]) -> Predicted:
    """Read the folds' predictions, and average those of the test part, in the digits that are written.

    Raises:
        UserError: a file is missing or damaged, or has other images or labels.
    """
    manifest = read_manifest(project)
    fold_of = read_folds(manifest)
    held_out = [(fold, np.flatnonzero(fold_of == str(fold))) for fold in folds]
    oof_rows, oof = gather_folds(
        (rows, read_predictions(project.fold_predictions(fold), manifest.labels, manifest.ids[rows]))
        for fold, rows in held_out
    )
    test_rows = np.flatnonzero(fold_of == "test")
    by_fold = [
        read_predictions(project.test_predictions(fold), manifest.labels, manifest.ids[test_rows])
        for fold in folds
    ]
    mean = as_read_back(mean_over_folds(by_fold))
    return Predicted(manifest, fold_of, oof_rows, oof, test_rows, np.stack(by_fold), mean)


def read_trained_couplings(project: Project, folds: list[int], labels: list[str]) -> np.ndarray | None:
    """(K, L, L) A of each fold's model; None where networks were trained without a refiner.

    Raises:
        UserError: a file is missing or damaged, or has other labels.
    """
    matrices = [read_couplings(project, fold, labels) for fold in folds]
    found = [matrix for matrix in matrices if matrix is not None]
    return np.stack(found) if found else None


def mean_over_folds(probabilities: list[np.ndarray]) -> np.ndarray:
    """Arithmetic mean of the folds' probabilities, each (N, L) (paper 1, "Evaluation"), rounded to float32.

    >>> mean_over_folds([np.array([[0.2]]), np.array([[0.6]])]).round(6)
    array([[0.4]])
    """
    return np.mean(probabilities, axis=0).astype(np.float32).astype(np.float64)
