"""From the folds' predictions to calibrated probabilities, thresholds, prediction sets and the list to look through.

Everything is fitted on rows out of fold. The test part gives its images (what the models say of them: the ensemble's
kappa) and never its labels.

See also: `couplet.evaluation.calibration`, `couplet.evaluation.decisions`, `couplet.evaluation.sets`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from couplet.evaluation.calibration.beta import nine_digits
from couplet.evaluation.calibration.fitting import (
    OutOfFold,
    cross_fitting_calibrators,
    ensemble_probabilities,
    fit_calibrators,
    model_probabilities,
    sharpened,
)
from couplet.evaluation.calibration.inverse import LossPosterior, posterior_of, proper
from couplet.evaluation.calibration.record import LabelCalibrator
from couplet.evaluation.decisions import (
    RULES,
    Calibrator,
    Point,
    cross_fitted_thresholds,
    operating_points,
    values,
)
from couplet.evaluation.refits import one_step_refit
from couplet.evaluation.sets import conformal_record, prediction_sets
from couplet.evaluation.suspicious import suspicious
from couplet.evaluation.threshold_range import Refit, ThresholdRange, threshold_range
from couplet.results.calibrated import SUSPICIOUS, Calibrated, oof_parts, set_categories
from couplet.results.predicted import Predicted
from couplet.results.predictions import as_read_back
from couplet.settings.params import Params


def calibrate(
    predicted: Predicted, params: Params, without: Mapping[int, np.ndarray] | None = None
) -> Calibrated:
    """Calibrate the probabilities and decide with them.

    Args:
        predicted: of the folds' models.
        params: the sections loss, calibration and decision are read.
        without: of refined probabilities (`couplet.inference.couple`): of each part (n, L) in which no number depends
            on that part's labels, for its calibrators and thresholds. None: outputs of the networks, of which the
            rows of other parts know nothing of a part's labels.
    """
    labels, method = predicted.labels, params.calibration.method
    posterior = posterior_of(params.loss) if without is None else proper
    truth, folds, patients = predicted.oof_truth, predicted.oof_folds, predicted.oof_patients
    oof = OutOfFold(truth, predicted.oof, patients)

    parts = oof_parts(predicted.manifest, predicted.fold_of, predicted.oof_rows)
    if without is None:
        of_part = cross_fitting_calibrators(oof, parts, labels, posterior, method)
    else:
        of_part = {
            part: fit_calibrators(
                OutOfFold(truth, table, patients).rows(parts != part), labels, posterior, method
            )
            for part, table in without.items()
        }
    oof_q = np.full(predicted.oof.shape, np.nan)
    for part, fitted in of_part.items():
        own = parts == part
        oof_q[own] = as_read_back(model_probabilities(fitted, predicted.oof[own], posterior))
    calibrators = fit_calibrators(oof, labels, posterior, method)
    if params.calibration.sharpen:
        calibrators = sharpened(calibrators, oof, predicted.test_by_fold, posterior)

    to_q = of_ensemble(calibrators, posterior)
    points = operating_points(truth, predicted.oof, oof_q, patients, folds, params.decision, to_q)
    part_thresholds = {rule: np.full((int(parts.max()) + 1, len(labels)), np.nan) for rule in RULES}
    if len(of_part) > 1:
        models = {part: of_model(fitted, posterior) for part, fitted in of_part.items()}
        if without is None:
            thresholds = cross_fitted_thresholds(
                truth, predicted.oof, oof_q, patients, parts, params.decision, models
            )
            for rule in RULES:
                part_thresholds[rule][parts] = thresholds[rule]  # the same in all rows of a part
        else:
            for part, table in without.items():
                rest, to_part = parts != part, models[part]
                found = operating_points(
                    truth[rest],
                    table[rest],
                    to_part(table[rest]),
                    patients[rest],
                    parts[rest],
                    params.decision,
                    to_part,
                )
                for rule in RULES:
                    part_thresholds[rule][part] = values(found[rule])

    category = set_categories(predicted.manifest, params.decision.within)
    conformal = conformal_record(truth, predicted.oof, patients, folds, category[predicted.oof_rows])
    test_categories = category[predicted.test_rows]
    sets = prediction_sets(conformal, predicted.test_by_fold, test_categories, params.decision.alpha)
    return Calibrated(
        loss=params.loss,
        calibration=params.calibration,
        decision=params.decision,
        calibrators=calibrators,
        parts=parts,
        oof_q=oof_q,
        test_q=to_q(predicted.test),
        points={rule: [_written(point) for point in points[rule]] for rule in RULES},
        part_thresholds={rule: as_read_back(table) for rule, table in part_thresholds.items()},
        conformal=conformal,
        test_categories=test_categories,
        decisions=sets.decision,
        suspicious=suspicious_cells(predicted, oof_q),
        refiner=params.refiner if without is not None else None,
    )


def headline_range(predicted: Predicted, calibrated: Calibrated, seed: int) -> ThresholdRange:
    """How far the headline rule's thresholds are known, on the scale of the ensemble's calibrated probability.

    Args:
        predicted, calibrated: of one run.
        seed: of the resamples of patients.
    """
    to_q = of_ensemble(calibrated.calibrators, calibrated.posterior)
    return threshold_range(
        calibrated.decision.rule,
        predicted.oof_truth,
        predicted.oof,
        calibrated.oof_q,
        predicted.oof_patients,
        predicted.oof_folds,
        calibrated.decision,
        to_q,
        seed,
        _refit(predicted, calibrated) if calibrated.calibration.method == "beta" else lambda draws: to_q,
    )


def of_model(calibrators: list[LabelCalibrator], posterior: LossPosterior) -> Calibrator:
    """What maps one model's outputs (..., L) to calibrated probabilities, in the digits that are written."""
    return lambda p: as_read_back(model_probabilities(calibrators, p, posterior))


def of_ensemble(calibrators: list[LabelCalibrator], posterior: LossPosterior) -> Calibrator:
    """What maps means over models (..., L) to calibrated probabilities, in the digits that are written."""
    return lambda p: as_read_back(ensemble_probabilities(calibrators, p, posterior))


def suspicious_cells(predicted: Predicted, oof_q: np.ndarray) -> pd.DataFrame:
    """The 50 cells of each label, out of fold, where model and label disagree most."""
    manifest, rows = predicted.manifest, predicted.oof_rows
    named = manifest.table["study_id"].to_numpy(dtype=str)[rows]
    # A study's name may be unique among its patient's only.
    studies = np.where(named == "", "", np.char.add(np.char.add(manifest.patients[rows], "\n"), named))
    found = suspicious(predicted.oof_truth, oof_q, manifest.ids[rows], studies)
    columns = (
        np.array(predicted.labels, dtype=object)[found.label],
        found.rank,
        manifest.ids[rows][found.row],
        found.given,
        found.q,
        as_read_back(found.evidence),
        found.other_in_study.astype(np.int64),
    )
    return pd.DataFrame(dict(zip(SUSPICIOUS, columns, strict=True)))


def _refit(predicted: Predicted, calibrated: Calibrated) -> Refit:
    """Fits the ensemble's beta maps to resamples of patients; how far they are stretched stays as it is."""
    calibrators = calibrated.calibrators
    kappas = np.array([one.kappa for one in calibrators])
    # Where nothing is stretched the prevalence may be 0, 1 or unknown.
    middles = np.array([logit(one.prevalence) if one.kappa != 1 else 0.0 for one in calibrators])
    maps = [one.beta for one in calibrators if one.beta is not None]
    priors = [one.prior for one in calibrators if one.prior is not None]
    refit = one_step_refit(maps, priors, predicted.oof_truth, predicted.oof, predicted.oof_patients)

    def of_resamples(draws: np.ndarray) -> Calibrator:
        of_model = refit(draws)

        def probabilities(p: np.ndarray) -> np.ndarray:
            with np.errstate(divide="ignore"):
                z = logit(of_model(p))
            return np.asarray(expit(middles + kappas * (z - middles)))

        return probabilities

    return of_resamples


def _written(point: Point) -> Point:
    return point if point.value is None else Point(nine_digits(point.value))
