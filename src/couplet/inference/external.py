"""The external test by the ensemble: mean, calibrated and decided as the test part is. Nothing is fitted on it."""

from __future__ import annotations

from couplet.evaluation.couplings.fit import LabelCouplings
from couplet.evaluation.sets import prediction_sets
from couplet.inference.calibrate import of_ensemble
from couplet.inference.ensemble import mean_over_folds
from couplet.project.project import Project
from couplet.results.calibrated import Calibrated, set_categories
from couplet.results.external import External
from couplet.results.external_predictions import ExternalPredictions, read_external_folds
from couplet.results.predictions import as_read_back


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
    manifest, by_fold = external.manifest, read_external_folds(project, external, folds)
    if couplings is not None:
        by_fold = as_read_back(couplings.refined(by_fold))
    mean = as_read_back(mean_over_folds(list(by_fold)))
    q = of_ensemble(calibrated.calibrators, calibrated.posterior)(mean)
    # Views that the run has not are in no calibration: their sets stay whole.
    category = set_categories(manifest, calibrated.decision.within if calibrated.by_view else "none")
    sets = prediction_sets(calibrated.conformal, by_fold, category, calibrated.decision.alpha)
    return ExternalPredictions(mean, q, sets.decision)
