"""What `dvc metrics` shows of the external test, beside the test part over the same labels: metrics/external.json."""

from __future__ import annotations

from typing import Any

import numpy as np

from couplet.evaluation.calibration.error import log_losses, squared_errors
from couplet.evaluation.hits import patient_shares, share
from couplet.evaluation.jackknife import auc_estimates
from couplet.evaluation.prevalence import moved
from couplet.evaluation.set_scores import set_scores
from couplet.project.files import write_json
from couplet.project.project import Project
from couplet.results.calibrated import Calibrated
from couplet.results.external import External, SharedWithTraining
from couplet.results.external_predictions import ExternalPredictions
from couplet.results.predicted import Predicted

NOTHING: dict[str, Any] = {"n_images": 0}  # of a run without an external test


def external_scores(
    predicted: Predicted,
    calibrated: Calibrated,
    external: External,
    found: ExternalPredictions,
    shared: SharedWithTraining,
) -> dict[str, Any]:
    """Means over the shared labels with both classes in both parts, 4 decimals; null where nothing is known.

    `internal` is the test part, over the same labels, `external_moved` the external test after its probabilities were
    moved to its own prevalences, which its labels say: what is left there, a change of prevalence does not explain.
    """
    truth = external.manifest.truth.astype(np.float64)
    chosen = scored_labels(external, predicted.test_truth if predicted.test_labelled else None)
    internal = {}
    if predicted.test_labelled:
        internal = _scores(
            predicted.test_truth[:, chosen].astype(np.float64),
            predicted.test[:, chosen],
            calibrated.test_q[:, chosen],
            calibrated.decisions[:, chosen],
            predicted.test_patients,
        )
    y, patients = truth[:, chosen], external.patients
    own = np.array([calibrated.calibrators[i].prevalence for i in chosen], dtype=np.float64)
    after = moved(found.q[:, chosen], own, share(y))
    return {
        "n_images": len(external.manifest.ids),
        "n_patients": int(patients.max(initial=-1)) + 1,
        "labels_shared": len(external.shared),
        "labels_scored": len(chosen),
        **shared.as_dict(),
        "internal": internal,
        "external": _scores(y, found.p[:, chosen], found.q[:, chosen], found.decisions[:, chosen], patients),
        "external_moved": _probability_scores(y, after),
    }


def scored_labels(external: External, test_truth: np.ndarray | None) -> list[int]:
    """Places of the shared labels that have both classes in the external test, and in a test part with labels."""
    parts = [external.manifest.truth, *([] if test_truth is None else [test_truth])]
    return [i for i in external.shared if all((part[:, i] == y).any() for part in parts for y in (0, 1))]


def _scores(
    truth: np.ndarray, p: np.ndarray, q: np.ndarray, decisions: np.ndarray, patients: np.ndarray
) -> dict[str, float | None]:
    macro = auc_estimates(truth, p, patients).macro
    sets = set_scores(truth, decisions)
    return {
        "auc_macro": _rounded(macro.value),
        "auc_macro_low": _rounded(macro.low),
        "auc_macro_high": _rounded(macro.high),
        **_probability_scores(truth, q),
        "coverage_present": _mean(patient_shares(sets.coverage_present, patients)),
        "coverage_absent": _mean(patient_shares(sets.coverage_absent, patients)),
    }


def _probability_scores(truth: np.ndarray, q: np.ndarray) -> dict[str, float | None]:
    return {"log_loss": _mean(log_losses(truth, q)), "brier": _mean(squared_errors(truth, q))}


def _mean(cells: np.ndarray) -> float | None:
    """Mean over labels of the means of their known cells."""
    means = [column[~np.isnan(column)].mean() for column in cells.T if not np.isnan(column).all()]
    return _rounded(float(np.mean(means))) if means else None


def _rounded(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(value, 4) + 0.0


def write_external_scores(project: Project, scores: dict[str, Any]) -> None:
    """Write metrics/external.json."""
    write_json(project.external_metrics, scores)
