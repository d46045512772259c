"""A group against the rest of the images, by the jackknife over patients, as rows: no markup."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from couplet.evaluation.estimate import LEVEL as OF_INTERVAL
from couplet.evaluation.estimate import Estimate, around
from couplet.evaluation.groups import MIN_CLASS_PATIENTS, MIN_PATIENTS, Group, contrast
from couplet.evaluation.hits import calls
from couplet.evaluation.leave_one_out import LeaveOneOut, leave_one_out_auc, leave_one_out_mean
from couplet.evaluation.multiple_tests import holm
from couplet.evaluation.ordering import n_different
from couplet.reporting.rows_groups import GroupRow, Judged

RATIO = "observed / expected"
COMPARED = ("AUC", RATIO, "sensitivity", "specificity")
LEVEL = 0.05


class Difference(NamedTuple):
    """A number of a label in a group minus the same in the rest; of observed / expected the difference of logs."""

    attribute: str
    value: str
    label: int
    measure: str
    inside: float
    outside: float
    difference: float
    standard_error: float
    p_holm: float  # over groups and labels of the measure
    estimate: Estimate  # of the difference

    @property
    def on_log_scale(self) -> bool:
        """Whether it is a difference of logarithms."""
        return self.measure == RATIO

    @property
    def differs(self) -> bool:
        """Whether the group differs from the rest at 0.05 after Holm's correction."""
        return self.p_holm < LEVEL


def compared(rows: Iterable[GroupRow]) -> list[GroupRow]:
    """The groups that are compared with the rest: those that are shown, and one of two that are all.

    Of two groups that make up the data set one is the other's rest, and the same test would be counted twice.
    """
    by_attribute: dict[str, list[GroupRow]] = {}
    for row in rows:
        by_attribute.setdefault(row.group.attribute, []).append(row)
    kept = []
    for found in by_attribute.values():
        shown = [row for row in found if row.group.shown and len(found) > 1]
        kept += shown[:1] if len(found) == 2 else shown
    return kept


def differences(judged: Judged, rows: Iterable[GroupRow]) -> list[Difference]:
    """Each group that `compared` gives against the rest, by measure, group and label; only labels that both can score.

    Holm's correction is over all groups and labels of a measure.
    """
    groups = [row.group for row in compared(rows)]
    rests = [_enough(judged.truth[~group.rows], judged.patients[~group.rows]) for group in groups]
    found: list[Difference] = []
    for measure in COMPARED:
        tests: list[Difference] = []
        for group, rest in zip(groups, rests, strict=True):
            tests += _tests(judged, group, group.scored & rest, measure)
        adjusted = holm(np.array([one.p_holm for one in tests]))
        found += [one._replace(p_holm=float(p)) for one, p in zip(tests, adjusted, strict=True)]
    return found


def jackknifed(value: float, variance: float, df: float, **about: Any) -> Estimate:
    """A difference with its t interval from the jackknife's variance; `about`: the other fields of `Estimate`."""
    about |= {"method": "leave-one-patient-out jackknife, t"}
    if df < 1 or not np.isfinite(variance):
        return Estimate(value, reason="too few patients", **about)
    return around(value, float(stdtrit(df, (1 + OF_INTERVAL) / 2) * np.sqrt(variance)), _same, _same, **about)


# --- one group, one measure -----------------------------------------------------------------------------------


def _tests(judged: Judged, group: Group, chosen: np.ndarray, measure: str) -> list[Difference]:
    """Of each chosen label (L,), which group and rest can both score; `p_holm` is not corrected yet."""
    shown = np.flatnonzero(chosen)
    if not len(shown):
        return []
    part = judged.labels(shown)
    inside, outside = (list(_without(part, rows, measure)) for rows in (group.rows, ~group.rows))
    usable = [
        i for i, (a, b) in enumerate(zip(inside, outside, strict=True)) if not a.reason and not b.reason
    ]
    if not usable:
        return []
    a, b = ([side[i] for i in usable] for side in (inside, outside))
    value, rest_value = (np.array([one.value for one in side]) for side in (a, b))
    result = contrast(
        value,
        np.stack([one.without for one in a], axis=1),
        rest_value,
        np.stack([one.without for one in b], axis=1),
        np.stack([one.known | other.known for one, other in zip(a, b, strict=True)], axis=1),
        np.array([min(one.df, other.df) + 1 for one, other in zip(a, b, strict=True)]),
    )
    shown_values = [np.exp(v) if measure == RATIO else v for v in (value, rest_value)]
    return [
        Difference(
            group.attribute,
            group.value,
            int(shown[i]),
            measure,
            float(shown_values[0][j]),
            float(shown_values[1][j]),
            float(result.difference[j]),
            float(result.standard_error[j]),
            float(result.p_value[j]),
            _difference(float(result.difference[j]), float(result.standard_error[j]), a[j], b[j]),
        )
        for j, i in enumerate(usable)
    ]


def _difference(difference: float, error: float, inside: LeaveOneOut, outside: LeaveOneOut) -> Estimate:
    return jackknifed(
        difference,
        error**2,
        min(inside.df, outside.df),
        n_images=inside.n_images + outside.n_images,
        n_patients=int((inside.known | outside.known).sum()),
    )


def _enough(truth: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """(L,) labels with enough patients of each class, the rule for groups."""
    if n_different(patients) < MIN_PATIENTS:
        return np.zeros(truth.shape[1], bool)
    counts = [min((np.bincount(patients[column == y]) > 0).sum() for y in (0, 1)) for column in truth.T]
    return np.array(counts) >= MIN_CLASS_PATIENTS


def _without(part: Judged, rows: np.ndarray, measure: str) -> Iterable[LeaveOneOut]:
    """The measure among `rows` without each patient, the other rows' cells being unknown."""
    truth = np.where(rows[:, None], part.truth, np.nan)
    if measure == "AUC":
        return leave_one_out_auc(truth, part.p, part.patients)
    if measure == RATIO:
        return [_log_ratio(y, q, part.patients) for y, q in zip(truth.T, part.q.T, strict=True)]
    hits = calls(truth, part.q, part.thresholds)
    return leave_one_out_mean(getattr(hits, measure), part.patients)


def _log_ratio(truth: np.ndarray, q: np.ndarray, patients: np.ndarray) -> LeaveOneOut:
    """log(observed / expected) without each patient."""
    known = ~np.isnan(truth)
    n = int(patients.max(initial=-1)) + 1
    observed = np.bincount(patients[known], truth[known], n)
    expected = np.bincount(patients[known], q[known], n)
    there = np.bincount(patients[known], minlength=n) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        without = np.log((observed.sum() - observed) / (expected.sum() - expected))
        value = float(np.log(observed.sum() / expected.sum()))
    n_positive = int((observed > 0).sum())
    reason = "" if np.isfinite(without[there]).all() and there.sum() > 1 else "one patient has all positives"
    return LeaveOneOut(value, without, there, int(known.sum()), n_positive, int(there.sum()) - 1, reason)


def _same(value: float) -> float:
    return value
