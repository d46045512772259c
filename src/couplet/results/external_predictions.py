"""What the ensemble says of the external test: how it is written and read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from couplet.project.errors import UserError
from couplet.project.project import Project
from couplet.results.external import (
    STORED_IMAGES,
    External,
    SharedWithTraining,
    read_external,
    shared_with_training,
)
from couplet.results.manifest import Manifest
from couplet.results.predictions import read_predictions, write_predictions
from couplet.results.sets import read_decisions, write_decisions
from couplet.settings.params import Params

FILES = ("external.csv", "calibrated.csv", "decisions.csv")


@dataclass(frozen=True)
class ExternalPredictions:
    """What the ensemble says of the external test's n images, L labels; in the digits that are written.

    Attributes:
        p: (n, L) the mean over the folds' models, uncalibrated.
        q: (n, L) calibrated as the test part is.
        decisions: (n, L) int8 sets: 0 absent, 1 present, 2 both, 3 neither.
    """

    p: np.ndarray
    q: np.ndarray
    decisions: np.ndarray


def write_external(project: Project, external: External, predicted: ExternalPredictions) -> None:
    """Write external.csv, calibrated.csv and decisions.csv."""
    folder, ids, labels = project.external_ensemble, external.manifest.ids, external.manifest.labels
    p, q, decisions = (folder / name for name in FILES)
    write_predictions(p, ids, labels, predicted.p)
    write_predictions(q, ids, labels, predicted.q)
    write_decisions(decisions, ids, labels, predicted.decisions)


def remove_external(project: Project) -> None:
    """Remove what `write_external` wrote: of an external test that a stage run by hand no longer has."""
    for name in FILES:
        (project.external_ensemble / name).unlink(missing_ok=True)
    if project.external_ensemble.is_dir():
        project.external_ensemble.rmdir()


def read_external_folds(project: Project, external: External, folds: list[int]) -> np.ndarray:
    """(K, n, L) what evaluate_fold wrote of each fold's model.

    Raises:
        UserError: a file is missing or damaged, or has other images or labels.
    """
    ids, labels = external.manifest.ids, external.manifest.labels
    paths = map(project.external_predictions, folds)
    return np.stack([read_predictions(path, labels, ids, STORED_IMAGES) for path in paths])


def read_external_predictions(project: Project, external: External) -> ExternalPredictions:
    """Read what `write_external` wrote.

    Raises:
        UserError: a file is missing or damaged, or has other images or labels.
    """
    folder, ids, labels = project.external_ensemble, external.manifest.ids, external.manifest.labels
    p, q = (read_predictions(folder / name, labels, ids, STORED_IMAGES) for name in FILES[:2])
    return ExternalPredictions(p, q, read_decisions(folder / FILES[2], labels, ids))


@dataclass(frozen=True)
class ExternalRun:
    """The external test of a finished run: what it is, what is said of it, and who of it is in training."""

    test: External
    predicted: ExternalPredictions
    shared: SharedWithTraining


def read_external_run(
    project: Project, params: Params, manifest: Manifest, fold_of: np.ndarray
) -> ExternalRun | None:
    """Read the external test of a run; None if the settings have none.

    Raises:
        UserError: a file is missing or damaged, or does not fit the others.
    """
    external = read_external(project, params, manifest.labels)
    if external is None:
        return None
    predicted = read_external_predictions(project, external)
    if not params.refiner.fitted_afterwards:
        by_fold = read_external_folds(project, external, params.split.folds)
        if not np.allclose(by_fold.mean(axis=0), predicted.p, rtol=0, atol=1e-5):
            raise UserError(
                f"{project.external_ensemble / FILES[0]} is not the mean of the folds in "
                f"{project.predictions / 'external'}: run `dvc repro`"
            )
    return ExternalRun(external, predicted, shared_with_training(external, manifest, fold_of))
