"""An external test beside the test part, label by label and over the same labels, as rows: no markup.

n images, L labels that both have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

from couplet.evaluation.estimate import LEVEL, Estimate, Source
from couplet.evaluation.jackknife import Estimates, auc_estimates
from couplet.evaluation.multiple_tests import holm
from couplet.evaluation.prevalence import estimated_prevalence
from couplet.evaluation.proportions import observed_over_expected, proportion
from couplet.evaluation.set_scores import set_scores
from couplet.reporting.parts import of_label, positive_patients
from couplet.reporting.rows_calibration import label_measures, means
from couplet.reporting.rows_decisions import judgements
from couplet.results.calibration_tables import patient_coverage

NO_THRESHOLD = "no threshold in this run"


@dataclass(frozen=True)
class Side:
    """One of the two: the test part, or the external test.

    Attributes:
        truth: (n, L) of 1, 0 or NaN.
        p, q: (n, L) uncalibrated and calibrated probabilities of the ensemble.
        decisions: (n, L) sets.
        patients: (n,) codes from 0.
        flags: what must be known before a number of it is quoted.
        raw, calibrated, sets: the files of `p`, `q` and `decisions`.
    """

    truth: np.ndarray
    p: np.ndarray
    q: np.ndarray
    decisions: np.ndarray
    patients: np.ndarray
    flags: tuple[str, ...]
    raw: Source
    calibrated: Source
    sets: Source

    def of(self, labels: Sequence[int]) -> Side:
        """The same of these labels only."""
        chosen = list(labels)
        cut = (self.truth[:, chosen], self.p[:, chosen], self.q[:, chosen], self.decisions[:, chosen])
        return Side(*cut, self.patients, self.flags, self.raw, self.calibrated, self.sets)


class Measures(NamedTuple):
    """What is said of one label on one side."""

    prevalence: Estimate
    unknown: float  # share of images whose label is unknown
    auc: Estimate
    observed_over_expected: Estimate
    slope: Estimate
    sensitivity: Estimate
    specificity: Estimate
    coverage_present: Estimate
    coverage_absent: Estimate


class Moved(NamedTuple):
    """What moving the prevalence alone makes of one label of the external test; AUC, slope and sets stay."""

    observed_over_expected: Estimate
    sensitivity: Estimate
    specificity: Estimate


class Together(NamedTuple):
    """Over the labels that have both classes on both sides."""

    auc: Estimate
    log_loss: Estimate


def measures(side: Side, thresholds: np.ndarray) -> tuple[list[Measures], Estimates]:
    """Of each label its measures at the run's thresholds (L,), and the AUCs with their errors."""
    n_labels, (truth, patients) = side.truth.shape[1], (side.truth, side.patients)
    aucs = auc_estimates(truth, side.p, patients)
    calibration = label_measures(truth, side.q, patients, np.full(n_labels, np.nan))
    calls = judgements(truth, side.q, patients, thresholds)
    sets, positive = set_scores(truth, side.decisions), positive_patients(truth, patients)
    rows = []
    for i in range(n_labels):
        about_calls, known = calls[i], ~np.isnan(truth[:, i])
        sensitivity, specificity = (
            (about_calls.sensitivity, about_calls.specificity) if about_calls else (_none(), _none())
        )
        present, absent = (
            patient_coverage(hits[:, i], patients) for hits in (sets.coverage_present, sets.coverage_absent)
        )
        prevalence = proportion(truth[:, i], patients, positive=truth[:, i])
        rows.append(
            Measures(
                prevalence=_told(prevalence, side, side.raw),
                unknown=float(1 - known.mean()) if len(known) else float("nan"),
                auc=_told(aucs.per_label[i], side, side.raw),
                observed_over_expected=_told(calibration[i].observed_over_expected, side, side.calibrated),
                slope=_told(calibration[i].slope, side, side.calibrated),
                sensitivity=_told(sensitivity, side, side.calibrated),
                specificity=_told(specificity, side, side.calibrated),
                coverage_present=_told(of_label(present, positive[i]), side, side.sets),
                coverage_absent=_told(absent, side, side.sets),
            )
        )
    return rows, aucs


def after_moving(side: Side, moved_q: np.ndarray, thresholds: np.ndarray) -> list[Moved]:
    """The same with `moved_q` (n, L) for q; NaN in the column of a label that cannot be moved.

    The prevalence that they were moved to is that of these very images: flagged `fitted here`.
    """
    rows = []
    for i in range(side.truth.shape[1]):
        if np.isnan(moved_q[:, i]).any():
            nothing = Estimate(None, reason="a prevalence of 0 or 1, or unknown")
            rows.append(Moved(nothing, nothing, nothing))
            continue
        y, q = side.truth[:, i : i + 1], moved_q[:, i : i + 1]
        (calls,) = judgements(y, q, side.patients, thresholds[i : i + 1])
        found = (
            observed_over_expected(y[:, 0], q[:, 0], side.patients),
            calls.sensitivity if calls else _none(),
            calls.specificity if calls else _none(),
        )
        rows.append(Moved(*(_told(one, side, side.calibrated).flagged("fitted here") for one in found)))
    return rows


def together(side: Side, chosen: Sequence[int], q: np.ndarray | None = None) -> Together:
    """Macro-AUC and mean log loss over the labels at these places; of other probabilities `q` (n, L) for q."""
    part = side.of(chosen)
    used = part.q if q is None else q[:, list(chosen)]
    macro = auc_estimates(part.truth, part.p, part.patients).macro
    loss = means(part.truth, used, part.patients, np.full(len(chosen), np.nan)).log_loss
    flags = () if q is None else ("fitted here",)
    return Together(_told(macro, side, side.raw), _told(loss, side, side.calibrated).flagged(*flags))


def unlabelled_prevalences(side: Side, prevalence: np.ndarray) -> list[Estimate]:
    """Of each label its prevalence as the images alone say it, `prevalence` (L,) being that of the calibration."""
    return [
        _told(estimated_prevalence(q, share, side.patients), side, side.calibrated)
        for q, share in zip(side.q.T, prevalence.tolist(), strict=True)
    ]


def ranked_otherwise(here: Estimates, there: Estimates) -> list[int]:
    """Places of the labels whose AUC differs between two sets of different patients (z test of each, Holm, 0.05)."""
    pairs = zip(here.per_label, there.per_label, here.errors, there.errors, strict=True)
    p_values = [
        np.nan
        if a.value is None or b.value is None
        else 2 * ndtr(-abs(b.value - a.value) / np.hypot(error, other))
        for a, b, error, other in pairs
    ]
    return np.flatnonzero(holm(np.array(p_values)) < 1 - LEVEL).tolist()


def off_target(truth: np.ndarray, q: np.ndarray, patients: np.ndarray, fitted: np.ndarray) -> list[int]:
    """Places of the labels whose observed / expected is not 1 (z test of its log for each, Holm, 0.05).

    The probabilities' own level is known no better than the images that they were calibrated on allow: its variance
    adds to that of these images.

    Args:
        truth, q: (n, L) of the images in question; a column of q with NaN is not tested.
        patients: (n,) codes.
        fitted: (L,) `log_errors` of the images that the calibrators were fitted on.
    """
    logs, errors = _log_ratios(truth, q, patients)
    errors = np.hypot(errors, fitted)
    return np.flatnonzero(holm(2 * ndtr(-np.abs(logs) / errors)) < 1 - LEVEL).tolist()


def log_errors(truth: np.ndarray, q: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """(L,) standard error, by patient, of the log of each label's observed / expected; NaN where it has no interval."""
    return _log_ratios(truth, q, patients)[1]


def _log_ratios(truth: np.ndarray, q: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each label the log of observed / expected (L,), and its standard error (L,) by patient; NaN for none."""
    logs, errors = np.full((2, truth.shape[1]), np.nan)
    for i, (y, column) in enumerate(zip(truth.T, q.T, strict=True)):
        if np.isnan(column).any():
            continue
        one = observed_over_expected(y, column, patients)
        logs[i] = np.log(one.value) if one.value else np.nan
        if one.low is not None and one.high is not None:
            reach = stdtrit(one.n_patients - 1, (1 + one.level) / 2)
            errors[i] = np.log(one.high / one.low) / 2 / reach
    return logs, errors


def _told(estimate: Estimate, side: Side, source: Source) -> Estimate:
    return estimate.flagged(*side.flags).of(source)


def _none() -> Estimate:
    return Estimate(None, reason=NO_THRESHOLD)
