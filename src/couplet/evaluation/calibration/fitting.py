"""The calibrators of all labels: fitted out of fold, cross-fitted for out-of-fold numbers, stretched for the ensemble.

Fitted on out-of-fold rows only. The test part gives its images (what the models say of them) and never its labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from couplet.evaluation.calibration.beta import BetaMap, fit_beta, nine_digits
from couplet.evaluation.calibration.ensemble import kappa
from couplet.evaluation.calibration.inverse import LossPosterior, priors_of
from couplet.evaluation.calibration.record import NOT_CHECKED, LabelCalibrator, as_written
from couplet.evaluation.estimate import few
from couplet.evaluation.prevalence import prevalences
from couplet.settings.schema.calibration import Method

PARTS_OF_ONE_FOLD = 5


@dataclass(frozen=True)
class OutOfFold:
    """What calibrators are fitted on: n images, each predicted by the model that was not trained on its patient.

    Attributes:
        truth: (n, L) of 0, 1 or NaN.
        p: (n, L) outputs in [0, 1].
        patients: (n,) patient of each image, as whole numbers.
    """

    truth: np.ndarray
    p: np.ndarray
    patients: np.ndarray

    def rows(self, chosen: np.ndarray) -> OutOfFold:
        """These images only: a mask or indices (m,)."""
        return OutOfFold(self.truth[chosen], self.p[chosen], self.patients[chosen])


def fit_calibrators(
    oof: OutOfFold, labels: Sequence[str], posterior: LossPosterior, method: Method = "beta"
) -> list[LabelCalibrator]:
    """One calibrator per label from all rows of all folds together, for single models: kappa is 1.

    Args:
        oof: n images.
        labels: L names.
        posterior: the loss's inverse (`inverse.posterior_of`).
        method: `calibration.method`.
    """
    priors: list[BetaMap | None] = [None] * len(labels)
    if method == "beta":
        priors = [prior.rounded() for prior in priors_of(posterior, prevalences(oof.truth))]
    return [
        _fit_label(name, oof.truth[:, label], oof.p[:, label], oof.patients, method, priors[label])
        for label, name in enumerate(labels)
    ]


def cross_fitted(
    oof: OutOfFold,
    parts: np.ndarray,
    labels: Sequence[str],
    posterior: LossPosterior,
    method: Method = "beta",
) -> np.ndarray:
    """(n, L) calibrated probabilities of out-of-fold images, each by calibrators of the other parts' rows.

    Args:
        oof: n images.
        parts: (n,) the part of each (`cross_fitting_parts`).
        labels, posterior, method: as of `fit_calibrators`.
    """
    q = np.full(oof.p.shape, np.nan)
    for part, fitted in cross_fitting_calibrators(oof, parts, labels, posterior, method).items():
        q[parts == part] = model_probabilities(fitted, oof.p[parts == part], posterior)
    return q


def cross_fitting_calibrators(
    oof: OutOfFold,
    parts: np.ndarray,
    labels: Sequence[str],
    posterior: LossPosterior,
    method: Method = "beta",
) -> dict[int, list[LabelCalibrator]]:
    """Of each part the calibrators that its images are mapped by, fitted on the other parts' rows.

    Args: as of `cross_fitted`.
    """
    return {
        int(part): fit_calibrators(oof.rows(parts != part), labels, posterior, method)
        for part in np.unique(parts)
    }


def cross_fitting_parts(folds: np.ndarray, patient_ids: Sequence[Any] | np.ndarray) -> np.ndarray:
    """(n,) the part of each image: its fold; with one fold only, five parts by a hash of its patient.

    Args:
        folds: (n,) fold that each image was held out of.
        patient_ids: (n,) as the manifest has them; of equal patients the part is equal.

    >>> cross_fitting_parts(np.array([0, 0, 1]), ["7", "8", "9"]).tolist()
    [0, 0, 1]
    >>> cross_fitting_parts(np.array([0, 0, 0, 0]), ["7", "8", "9", "7"]).tolist()
    [0, 3, 1, 0]
    """
    if len(np.unique(folds)) > 1:
        return np.asarray(folds)
    return patient_parts(patient_ids, PARTS_OF_ONE_FOLD)


def patient_parts(patient_ids: Sequence[Any] | np.ndarray, n_parts: int) -> np.ndarray:
    """(n,) a part from 0 to n_parts - 1 for each image, by a hash of its patient.

    >>> patient_parts(["7", "8", "9", "7"], 2).tolist()
    [0, 0, 1, 0]
    """
    ids, patient = np.unique(np.asarray(patient_ids).astype(str), return_inverse=True)
    hashes = [int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") for name in ids.tolist()]
    parts = np.array([number % n_parts for number in hashes], dtype=np.int64)
    return parts[patient]


def sharpened(
    calibrators: Sequence[LabelCalibrator], oof: OutOfFold, folds: np.ndarray, posterior: LossPosterior
) -> list[LabelCalibrator]:
    """The calibrators with the kappa of an ensemble of K models (`ensemble.kappa`).

    Not where nothing is calibrated, nor where a class is missing out of fold: then no prevalence is known to stretch
    from.

    Args:
        calibrators: of L labels, fitted on `oof`.
        oof: n images out of fold.
        folds: (K, n_test, L) outputs of each fold's model for the test images.
        posterior: the loss's inverse.
    """
    found = []
    for label, calibrator in enumerate(calibrators):
        if calibrator.method != "none" and NOT_CHECKED not in calibrator.flags:
            known = ~np.isnan(oof.truth[:, label])
            factor = kappa(
                calibrator.logit(oof.p[known, label], posterior),
                calibrator.logit(folds[:, :, label], posterior),
            )
            calibrator = replace(calibrator, kappa=nine_digits(factor))
        found.append(calibrator)
    return found


def model_probabilities(
    calibrators: Sequence[LabelCalibrator], p: np.ndarray, posterior: LossPosterior
) -> np.ndarray:
    """Calibrated probabilities (..., L) of one model's outputs p (..., L), each label by its own calibrator."""
    columns = [one.probability(p[..., label], posterior) for label, one in enumerate(calibrators)]
    return np.stack(columns, axis=-1)


def ensemble_probabilities(
    calibrators: Sequence[LabelCalibrator], p: np.ndarray, posterior: LossPosterior
) -> np.ndarray:
    """Calibrated probabilities (..., L) of means over models p (..., L), each label by its own calibrator."""
    columns = [one.ensemble_probability(p[..., label], posterior) for label, one in enumerate(calibrators)]
    return np.stack(columns, axis=-1)


def _fit_label(
    name: str,
    truth: np.ndarray,
    p: np.ndarray,
    patients: np.ndarray,
    method: Method,
    prior: BetaMap | None,
) -> LabelCalibrator:
    known = ~np.isnan(truth)
    truth, p, patients = truth[known], p[known], patients[known]
    n_images, n_positive = len(truth), int(truth.sum())
    n_positive_patients = len(np.unique(patients[truth == 1]))
    prevalence = n_positive / n_images if n_images else float("nan")
    checked = 0 < n_positive < n_images
    beta = fit_beta(p, truth, prior).rounded() if checked and prior is not None else prior
    flags = () if checked else (NOT_CHECKED,)
    return LabelCalibrator(
        label=name,
        method=method,
        beta=beta,
        prior=prior,
        kappa=1.0,
        prevalence=as_written(prevalence),
        n_images=n_images,
        n_positive=n_positive,
        n_patients=len(np.unique(patients)),
        n_positive_patients=n_positive_patients,
        flags=(*flags, *few(n_positive_patients)),
    )
