"""Subgroups, as rows: no markup. n images out of fold at common thresholds, m test images, L labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from couplet.evaluation.calibration.error import calibration_error
from couplet.evaluation.calibration.slopes import calibration_lines
from couplet.evaluation.estimate import Estimate
from couplet.evaluation.groups import Group, groups_of
from couplet.evaluation.hits import calls
from couplet.evaluation.jackknife import auc_estimates
from couplet.evaluation.prevalence import prevalences
from couplet.evaluation.proportions import observed_over_expected, proportion
from couplet.evaluation.set_scores import set_scores
from couplet.reporting.parts import of_label, positive_patients
from couplet.reporting.rows_calibration import error_estimate, intercept_estimate
from couplet.results.calibration_tables import patient_coverage

MOST_VALUES = 12  # of one attribute that are told apart: those with the most patients
OTHERS = "all others"


class Judged(NamedTuple):
    """What groups are scored on: truth, p and q (n, L), thresholds (n, L) with NaN for none, patients (n,) codes."""

    truth: np.ndarray
    p: np.ndarray
    q: np.ndarray
    thresholds: np.ndarray
    patients: np.ndarray

    def of(self, rows: np.ndarray) -> Judged:
        """These images only."""
        return Judged(*(column[rows] for column in self))

    def labels(self, chosen: np.ndarray) -> Judged:
        """These labels only."""
        truth, p, q, thresholds = (column[:, chosen] for column in self[:4])
        return Judged(truth, p, q, thresholds, self.patients)


class GroupLabel(NamedTuple):
    """One label in one group, where it has enough patients of both classes."""

    auc: Estimate
    observed_over_expected: Estimate
    intercept: Estimate
    error: Estimate
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    flagged: Estimate


class GroupCoverage(NamedTuple):
    """How often one label's sets of a group's test images have the true class."""

    present: Estimate
    absent: Estimate


@dataclass(frozen=True)
class GroupRow:
    """A group with its labels (L of them, None where there are too few patients).

    `coverage` is of the group's test images, where these are enough for the same rule.
    """

    group: Group
    prevalence: np.ndarray
    labels: list[GroupLabel | None]
    coverage: list[GroupCoverage | None]


def group_rows(judged: Judged, attributes: Mapping[str, np.ndarray]) -> list[GroupRow]:
    """Every group of every attribute; those below 50 patients are counted and not scored.

    Args:
        judged: n images out of fold.
        attributes: name -> (n,) texts.
    """
    n_labels = judged.truth.shape[1]
    return [
        GroupRow(
            group,
            prevalences(judged.truth[group.rows]),
            _scored(judged.of(group.rows), group),
            [None] * n_labels,
        )
        for group in groups_of(attributes, judged.truth, judged.patients)
    ]


def with_coverage(
    rows: list[GroupRow],
    attributes: Mapping[str, np.ndarray],
    truth: np.ndarray,
    decision: np.ndarray,
    patients: np.ndarray,
) -> list[GroupRow]:
    """The groups with the coverage of their sets on the test part.

    Args:
        rows: of `group_rows`.
        attributes: name -> (m,) texts of the test images.
        truth: (m, L) of 1, 0 or NaN.
        decision: (m, L) sets.
        patients: (m,) codes.
    """
    found: dict[tuple[str, str], list[GroupCoverage | None]] = {}
    for group in groups_of(attributes, truth, patients):
        scores, who = set_scores(truth[group.rows], decision[group.rows]), patients[group.rows]
        counts = positive_patients(truth[group.rows], who)
        found[group.attribute, group.value] = [
            GroupCoverage(
                of_label(patient_coverage(scores.coverage_present[:, label], who), counts[label]),
                patient_coverage(scores.coverage_absent[:, label], who),
            )
            if enough
            else None
            for label, enough in enumerate(group.scored.tolist())
        ]
    return [
        replace(row, coverage=found.get((row.group.attribute, row.group.value), row.coverage)) for row in rows
    ]


def folded(values: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """(n,) the same texts, of more than 12 values all but the 12 with the most patients as one.

    >>> names = np.array([f"site {i:02d}" for i in range(14) for _ in range(i + 1)], dtype=object)
    >>> sorted(set(folded(names, np.arange(len(names)))))[:3]
    ['all others', 'site 02', 'site 03']
    """
    names, which = np.unique(values.astype(str), return_inverse=True)
    if len(names) <= MOST_VALUES:
        return values
    pairs = np.unique(np.stack([which, patients]), axis=1)
    order = np.argsort(-np.bincount(pairs[0], minlength=len(names)), kind="stable")
    return np.where(np.isin(which, order[:MOST_VALUES]), values, OTHERS).astype(object)


# --- one group ------------------------------------------------------------------------------------------------


def _scored(judged: Judged, group: Group) -> list[GroupLabel | None]:
    shown = np.flatnonzero(group.scored)
    rows: list[GroupLabel | None] = [None] * len(group.scored)
    if not len(shown):
        return rows
    part = judged.labels(shown)
    auc = auc_estimates(part.truth, part.p, part.patients).per_label
    lines = calibration_lines(part.truth, part.q, part.patients, slopes=False)
    errors = calibration_error(part.truth, part.q, part.patients)
    hits = calls(part.truth, part.q, part.thresholds)
    counts = positive_patients(part.truth, part.patients)
    for i, label in enumerate(shown.tolist()):
        sensitivity, specificity, ppv, _, flagged = (
            of_label(proportion(column[:, i], part.patients), counts[i]) for column in hits
        )
        y, q = part.truth[:, i], part.q[:, i]
        rows[label] = GroupLabel(
            auc[i],
            observed_over_expected(y, q, part.patients),
            intercept_estimate(lines[i], y, part.patients),
            error_estimate(errors[i], y, part.patients),
            sensitivity,
            specificity,
            ppv,
            flagged,
        )
    return rows
