"""The external test by the ensemble: mean, calibrated and decided as the test part is. Nothing is fitted on it."""

from __future__ import annotations

import numpy as np

from couplet.evaluation.couplings.fit import LabelCouplings
from couplet.evaluation.sets import prediction_sets
from couplet.inference.calibrate import of_ensemble
from couplet.inference.ensemble import mean_over_folds
from couplet.project.project import Project
from couplet.results.calibrated import ALL_IMAGES, Calibrated, set_categories
from couplet.results.external import STORED_IMAGES, External
from couplet.results.external_predictions import ExternalPredictions
from couplet.results.predictions import as_read_back, read_predictions


def predict_external(
    project: Project,
    folds: list[int],
    external: External,
    calibrated: Calibrated,
    couplings: LabelCouplings | None = None,
) -> ExternalPredictions:
    """Put the folds' predictions of the external test together.

    Args:
        project: where they are.
        folds: numbers of the folds.
        external: the external test.
        calibrated: how outputs become probabilities and sets; of the run's own images.
        couplings: fitted after training; None without.

    Raises:
        UserError: a file is missing or damaged, or has other images or labels.
    """
    manifest = external.manifest
    by_fold = np.stack(
        [
            read_predictions(project.external_predictions(fold), manifest.labels, manifest.ids, STORED_IMAGES)
            for fold in folds
        ]
    )
    if couplings is not None:
        by_fold = as_read_back(couplings.refined(by_fold))
    mean = as_read_back(mean_over_folds(list(by_fold)))
    q = of_ensemble(calibrated.calibrators, calibrated.posterior)(mean)
    # Views that the run has not are in no calibration: their sets stay whole.
    category = set_categories(manifest, calibrated.decision.within)
    if calibrated.categories == [ALL_IMAGES]:
        category = np.full(len(category), ALL_IMAGES)
    sets = prediction_sets(calibrated.conformal, by_fold, category, calibrated.decision.alpha)
    return ExternalPredictions(mean, q, sets.decision)
