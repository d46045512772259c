"""What prediction sets promise and what they achieved, as rows: no markup.

The promise is for a random image of a random new patient, so coverage is the mean over patients of their own shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from couplet.evaluation.estimate import Estimate, Source
from couplet.evaluation.hits import among
from couplet.evaluation.jackknife import on_logit_scale
from couplet.evaluation.leave_one_out import influence
from couplet.evaluation.proportions import proportion
from couplet.evaluation.risk import augrc, augrc_without_each_patient
from couplet.evaluation.set_scores import all_labels_right, set_scores
from couplet.evaluation.sets import BOTH, NEITHER, ConformalRecord, never_dropped, realised_coverage
from couplet.reporting.parts import of_label, positive_patients
from couplet.results.calibration_tables import patient_coverage


class Coverage(NamedTuple):
    """One label, class and category."""

    label: int
    y: int  # 1 present, 0 absent
    category: str
    n_calibration: int  # M: patients out of fold with an image of the class in the category
    promised: tuple[float, float]  # 95 % range of the coverage that a run with so many patients realises
    never_dropped: bool  # too few patients: the class is in every set
    measured: Estimate | None  # None where no truth of the test part is known


class Abstention(NamedTuple):
    """One label's sets."""

    singletons: Estimate
    both: Estimate
    neither: Estimate
    singleton_errors: Estimate
    ppv: Estimate
    npv: Estimate

    def about(self, flags: tuple[str, ...], source: tuple[Source, ...]) -> Abstention:
        """The same, with flags and source files on every estimate."""
        return Abstention(*(one.flagged(*flags).of(*source) for one in self))


def coverage_rows(
    record: ConformalRecord,
    alpha: float,
    truth: np.ndarray,
    decision: np.ndarray,
    patients: np.ndarray,
    category: np.ndarray,
    labels: Sequence[int],
) -> list[Coverage]:
    """A row per chosen label, class and category of the calibration, in this order.

    Args:
        record: of the out-of-fold rows.
        alpha: as the sets were made.
        truth: (m, L) of the test part; all NaN where it is hidden, m may be 0.
        decision: (m, L) sets.
        patients: (m,) codes.
        category: (m,) names.
        labels: places of the labels that are judged.
    """
    n_patients, chosen = record.patients(), list(labels)
    low, high = realised_coverage(n_patients, alpha)
    kept = never_dropped(n_patients, alpha)
    measured = {
        name: _coverages(truth[rows][:, chosen], decision[rows][:, chosen], patients[rows])
        for name in record.categories.tolist()
        for rows in [np.flatnonzero(category == name)]
    }
    labelled = bool(np.isfinite(truth).any())
    return [
        Coverage(
            label,
            y,
            name,
            int(n_patients[label, y, c]),
            (float(low[label, y, c]), float(high[label, y, c])),
            bool(kept[label, y, c]),
            measured[name][y][place] if labelled else None,
        )
        for place, label in enumerate(labels)
        for y in (1, 0)
        for c, name in enumerate(record.categories.tolist())
    ]


def abstention_rows(truth: np.ndarray, decision: np.ndarray, patients: np.ndarray) -> list[Abstention]:
    """Of each label the shares of the sets' kinds and how often sure sets are wrong.

    Args:
        truth: (m, L) of 1, 0 or NaN. Where nothing at all is known, the shares of kinds are those of all images.
        decision: (m, L) sets.
        patients: (m,) codes.
    """
    scores = set_scores(truth, decision)
    kinds = [scores.singletons, scores.both, scores.neither]
    if not np.isfinite(truth).any():
        everywhere = np.ones(decision.shape, bool)
        both, neither = decision == BOTH, decision == NEITHER
        kinds = [among(kind, everywhere) for kind in (~both & ~neither, both, neither)]
    columns = (*kinds, scores.singleton_errors, scores.ppv, scores.npv)
    return [
        Abstention(*(of_label(proportion(hits[:, i], patients), n_positive) for hits in columns))
        for i, n_positive in enumerate(positive_patients(truth, patients))
    ]


def all_right(truth: np.ndarray, decision: np.ndarray, patients: np.ndarray) -> Estimate:
    """Share of images all of whose known labels have the true class in their set: not promised."""
    return proportion(all_labels_right(truth, decision)[:, 0], patients)


def augrc_estimate(truth: np.ndarray, q: np.ndarray, patients: np.ndarray) -> Estimate:
    """Area under the generalised risk-coverage curve at q >= 0.5, jackknifed by patient."""
    value, without = augrc(truth, q), augrc_without_each_patient(truth, q, patients)
    known = ~np.isnan(truth)
    about: dict[str, Any] = {
        "method": "leave-one-patient-out jackknife, logit scale, t",
        "n_images": int(known.any(axis=1).sum()),
        "n_patients": len(without),
    }
    if np.isnan(value) or len(without) < 2 or np.isnan(without).any():
        return Estimate(None if np.isnan(value) else value, reason="one patient", **about)
    if value == 0:
        return Estimate(value, reason="no call is wrong", **about)
    variance = float((influence(without, np.ones(len(without), bool)) ** 2).sum())
    return on_logit_scale(value, variance, len(without) - 1, about | {"level": 0.95})


def _coverages(truth: np.ndarray, decision: np.ndarray, patients: np.ndarray) -> list[list[Estimate]]:
    """For class 0 and class 1, the coverage of each label; how few positives there are says nothing of class 0."""
    scores, n_positive = set_scores(truth, decision), positive_patients(truth, patients)
    absent, present = (
        [patient_coverage(column, patients) for column in hits.T]
        for hits in (scores.coverage_absent, scores.coverage_present)
    )
    return [absent, [of_label(one, n) for one, n in zip(present, n_positive, strict=True)]]
