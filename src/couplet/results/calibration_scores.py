"""What `dvc metrics` shows of calibrated probabilities and prediction sets: metrics/calibration.json."""

from __future__ import annotations

import numpy as np

from couplet.evaluation.calibration.error import calibration_error, log_losses, squared_errors
from couplet.evaluation.calibration.slopes import calibration_lines
from couplet.evaluation.hits import among, patient_shares
from couplet.evaluation.multiple_tests import holm
from couplet.evaluation.set_scores import set_scores
from couplet.results.calibrated import Calibrated
from couplet.results.calibration_tables import Part, labelled_parts
from couplet.results.predicted import Predicted
from couplet.results.scores import CalibrationScores

LEVEL = 0.05  # of the test that a label's slope and intercept are 1 and 0, after Holm's correction


def calibration_scores(
    predicted: Predicted, calibrated: Calibrated, scored: np.ndarray | bool = True
) -> dict[str, CalibrationScores]:
    """Of each part with known labels its means over labels, 4 decimals, None where nothing is known.

    Labels that are not `scored` (L,) are in none of them, and not among those that may be miscalibrated.
    Coverage and singletons are of the test part alone: among the rows that the sets were made from coverage is true
    by construction.
    """
    found = {part.name: _probability_scores(part) for part in labelled_parts(predicted, calibrated, scored)}
    if "test" in found:
        found["test"] |= _set_scores(predicted, calibrated, scored)
    return found


def _probability_scores(part: Part) -> CalibrationScores:
    errors = np.array([one.squared for one in calibration_error(part.truth, part.q, part.patients)])
    mean_error = _mean(errors)
    lines = calibration_lines(part.truth, part.q, part.patients)
    p_values = holm(np.array([line.p_value for line in lines]))
    return {
        "log_loss": _rounded(_mean(_column_means(log_losses(part.truth, part.q)))),
        "log_loss_raw": _rounded(_mean(_column_means(log_losses(part.truth, part.p)))),
        "brier": _rounded(_mean(_column_means(squared_errors(part.truth, part.q)))),
        "calibration_error": _rounded(float(np.sign(mean_error) * np.sqrt(abs(mean_error)))),
        "labels_miscalibrated": int((p_values < LEVEL).sum()),
    }


def _set_scores(predicted: Predicted, calibrated: Calibrated, scored: np.ndarray | bool) -> CalibrationScores:
    scores = set_scores(np.where(scored, predicted.test_truth, np.nan), calibrated.decisions)
    covered = {
        f"coverage_{name}": _rounded(_mean(_column_means(patient_shares(hits, predicted.test_patients))))
        for name, hits in (("present", scores.coverage_present), ("absent", scores.coverage_absent))
    }
    # Every known cell counts alike: how often a reader gets one answer.
    cells = among(scores.singletons == 1, ~np.isnan(scores.singletons))
    return covered | {"singletons": _rounded(_mean(cells.ravel()))}


def _column_means(cells: np.ndarray) -> np.ndarray:
    """(L,) means of the known cells of each column, NaN without any."""
    return np.array([_mean(column) for column in cells.T])


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)
