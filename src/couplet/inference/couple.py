"""Label couplings after training: predictions refined with them, and what shows that they do something or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit

from couplet.evaluation.calibration.fitting import PARTS_OF_ONE_FOLD, patient_parts
from couplet.evaluation.calibration.inverse import posterior_of
from couplet.evaluation.couplings.cross_fit import CrossFitted, cross_fit, fits_of_parts
from couplet.evaluation.couplings.evidence import NO_EFFECT, Gain, gain, permuted, revealed_gain
from couplet.evaluation.couplings.fit import LabelCouplings
from couplet.evaluation.couplings.matrix import agreement, asymmetry, halves, spectral_radius, strength, zeros
from couplet.evaluation.estimate import Estimate
from couplet.evaluation.prevalence import prevalences
from couplet.inference.ensemble import mean_over_folds
from couplet.results.calibrated import oof_parts
from couplet.results.predicted import Predicted
from couplet.results.predictions import as_read_back
from couplet.settings.params import Params

OFF, NOT_MEASURED = "off", "not known from one run"
NO_SHIFT = 0.05  # a change of log odds below this takes a probability of 0.5 to 0.5125 at most
SLOPE = 0.25  # the steepest of a sigmoid: of a message by its own log odds
LOGITS = np.linspace(-30, 30, 6001)  # between which the steepest slope of a calibrated message is looked for
REVEALED_WITH = 2.0  # strictness of the fit that says what could be won, where nothing is fitted for use
MOST_LABELS = (
    200  # above this many labels that fit takes longer than anybody would wait for a number beside others
)
SMALL = 1e-3  # |A| below this counts as nothing in a network's A, which has no exact zeros


@dataclass(frozen=True)
class Coupled:
    """Predictions refined by couplings that were fitted on them.

    Attributes:
        predicted: with refined probabilities in the place of the networks' outputs, in the digits that are written.
        alone: the same with each label's own intercept and scale only.
        couplings: fitted on all rows out of fold.
        fits: the cross-fitted ones.
        without: of each part (n, L) in which no number depends on that part's labels.
        gains: by part of the images.
    """

    predicted: Predicted
    alone: Predicted
    couplings: LabelCouplings
    fits: CrossFitted
    without: dict[int, np.ndarray]
    gains: dict[str, Gain]


def couple(predicted: Predicted, params: Params) -> Coupled:
    """Fit the couplings out of fold and refine every prediction with them, per fold's model, then their mean.

    Args:
        predicted: of the folds' models, without couplings.
        params: the sections loss and refiner are read, and which labels are scored.
    """
    parts = oof_parts(predicted.manifest, predicted.fold_of, predicted.oof_rows)
    inner = patient_parts(predicted.manifest.patients[predicted.oof_rows], PARTS_OF_ONE_FOLD)
    fits = cross_fit(
        predicted.oof_truth, predicted.oof, parts, inner, posterior_of(params.loss), params.refiner.strictness
    )
    refined = _with(predicted, fits.refined, fits.couplings.refined(predicted.test_by_fold))
    alone = _with(predicted, fits.alone, fits.couplings.alone(predicted.test_by_fold))
    scored = predicted.manifest.scored(params.inference.unscored)
    gains = {
        "oof": gain(predicted.oof_truth, refined.oof, alone.oof, predicted.oof_patients, parts, scored),
    }
    if predicted.test_labelled:
        known, patients = predicted.test_truth, predicted.test_patients
        gains["test"] = gain(known, refined.test, alone.test, patients, scored=scored)
    without = {part: as_read_back(table) for part, table in fits.without.items()}
    return Coupled(refined, alone, fits.couplings, fits, without, gains)


def _with(predicted: Predicted, oof: np.ndarray, by_fold: np.ndarray) -> Predicted:
    by_fold = as_read_back(by_fold)
    mean = as_read_back(mean_over_folds(list(by_fold)))
    return replace(predicted, oof=as_read_back(oof), test_by_fold=by_fold, test=mean)


# --- metrics/couplings.json -------------------------------------------------------------------------------------------


def coupling_scores(
    predicted: Predicted, params: Params, coupled: Coupled | None, trained: np.ndarray | None
) -> dict[str, Any]:
    """What is known of the couplings' effect, 4 decimals; null where a run cannot say.

    Of couplings that are trained with the network there is no paired gain: the same network without them is another
    training. How large they are and what they could gain at most is known of one run.

    Args:
        predicted: of the folds' models, not refined after training.
        params: all settings.
        coupled: of couplings fitted after training.
        trained: (K, L, L) A of each fold's model, trained with it.
    """
    parts = oof_parts(predicted.manifest, predicted.fold_of, predicted.oof_rows)
    truth, p, scored = (
        predicted.oof_truth,
        predicted.oof,
        predicted.manifest.scored(params.inference.unscored),
    )
    refiner, n_labels = params.refiner, len(predicted.labels)
    scores: dict[str, Any] = {
        "fit": refiner.fit if refiner.enabled else OFF,
        "verdict": verdict(coupled, trained, strength(refiner)) if refiner.enabled else OFF,
        "oof": _gain_scores(coupled.gains["oof"] if coupled else None),
    }
    if predicted.test_labelled:
        scores["test"] = _gain_scores(coupled.gains["test"] if coupled else None)
    p_value = None
    if coupled:
        found = permuted(truth, p, parts, coupled.fits.of_part, refiner.strictness, params.seed)
        p_value = _rounded(found.p)
    scores["permutation_p"] = p_value
    told: tuple[float | None, float | None] = (None, None)
    if coupled:
        told = revealed_gain(truth, p, parts, coupled.fits.of_part, scored)
    elif n_labels <= MOST_LABELS:
        of_part = fits_of_parts(truth, p, parts, posterior_of(params.loss), REVEALED_WITH)
        told = revealed_gain(truth, p, parts, of_part, scored)
    scores["revealed"] = {"auc": _rounded(told[0]), "log_loss": _rounded(told[1])}
    return scores | _matrix_scores(predicted, params, coupled, trained)


def verdict(coupled: Coupled | None, trained: np.ndarray | None, strongest: float) -> str:
    """help, hurt, no effect seen; or that one run does not say.

    Couplings trained with the network that move no log odds by 0.05 have no effect, whatever a comparison says.

    Args:
        coupled, trained: as of `coupling_scores`.
        strongest: the most that a trained A of 1 adds to a logit.
    """
    if coupled:
        return coupled.gains["oof"].verdict
    if trained is not None and largest_shift(trained, strongest) < NO_SHIFT:
        return NO_EFFECT
    return NOT_MEASURED


def largest_shift(trained: np.ndarray, strongest: float) -> float:
    """The most by which all sources together move a target's log odds, either way, of (K, L, L) any fold's A."""
    up, down = np.maximum(trained, 0).sum(axis=1), np.maximum(-trained, 0).sum(axis=1)
    return strongest * float(max(up.max(), down.max()))


def _matrix_scores(
    predicted: Predicted, params: Params, coupled: Coupled | None, trained: np.ndarray | None
) -> dict[str, Any]:
    """How far A agrees with itself, and how large it is."""
    if coupled:
        fitted, ids = coupled.couplings.fitted, predicted.manifest.patients[predicted.oof_rows]
        several = halves(
            predicted.oof_truth,
            predicted.oof,
            coupled.couplings,
            patient_parts(ids, 2),
            params.refiner.strictness,
        )
        A, strengths, agreed = fitted.A, fitted.kappa * fitted.A, agreement(several)
    elif trained is not None:
        A = trained.mean(axis=0)
        strengths, agreed = strength(params.refiner) * trained, agreement(trained, SMALL)
        # Every fold's model has an A of its own: the mean, in which opposite signs cancel, is nobody's.
        steepest = slopes(params, predicted.oof_truth)[:, None]
        radius = max(spectral_radius(steepest * one) for one in strengths)
    else:
        A, strengths, agreed = np.zeros((0, 0)), np.zeros((0, 0)), agreement(np.zeros((1, 0, 0)))
    if coupled or trained is None:
        radius = SLOPE * spectral_radius(strengths) if strengths.size else 0.0
    known = coupled is not None or trained is not None
    return {
        "agreement": {"support": _rounded(agreed.support), "sign": _rounded(agreed.sign)},
        "asymmetry": _rounded(asymmetry(A)),
        "largest": _rounded(float(np.abs(strengths).max(initial=0.0))) if known else None,
        "zeros": _rounded(zeros(A)) if known else None,
        "spectral_radius": _rounded(radius) if known else None,
    }


def slopes(params: Params, truth: np.ndarray) -> np.ndarray:
    """(L,) the steepest slope of each label's message by its logit: of a sigmoid 0.25, of what ASL means by it 0.54.

    Args:
        params: the sections refiner and loss are read.
        truth: (n, L), whose prevalences some losses weigh by.
    """
    if params.refiner.message == "sigmoid":
        return np.full(truth.shape[1], SLOPE)
    posterior, p = posterior_of(params.loss), expit(LOGITS)
    messages = np.stack([posterior(p, prevalence) for prevalence in prevalences(truth)])
    return np.nan_to_num(np.gradient(messages, LOGITS, axis=1).max(axis=1), nan=SLOPE)


def _gain_scores(found: Gain | None) -> dict[str, float | None]:
    scores: dict[str, float | None] = {}
    for name in ("auc", "log_loss", *(["coverage"] if found else [])):
        one: Estimate | None = getattr(found, name) if found else None
        scores |= {
            f"{name}_gain": _rounded(one.value) if one else None,
            f"{name}_gain_low": _rounded(one.low) if one else None,
            f"{name}_gain_high": _rounded(one.high) if one else None,
        }
    return scores


def _rounded(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(value, 4) + 0.0
