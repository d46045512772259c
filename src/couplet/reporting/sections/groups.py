"""Subgroups, how they differ from the rest, and how far the score only tells views, sexes or devices apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from couplet.evaluation.estimate import Estimate
from couplet.evaluation.groups import MIN_CLASS_PATIENTS, MIN_PATIENTS
from couplet.evaluation.shortcuts import ATTENTION
from couplet.reporting.judge_groups import Groups, attention
from couplet.reporting.rows_differences import COMPARED, Difference
from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Subgroups and shortcuts"
MOST_DIFFERENCES = 80  # rows on the page: those with the smallest p-values


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """The groups, what differs, and the shortcut table of each attribute."""
    found = drawn.gallery.trust.groups
    differing = sorted((one for one in found.differences if one.differs), key=lambda one: one.p_holm)
    return {
        "groups": found,
        "names": [run.labels[i] for i in found.shown],
        "summary": summary(differing, [run.labels[i] for i in found.shown]),
        "differing": [(one, _in_group(found, one)) for one in differing[:MOST_DIFFERENCES]],
        "n_differing": len(differing),
        "n_tests": len(found.differences),
        "attention": attention(found),
        "at_least": ATTENTION,
        "min_patients": MIN_PATIENTS,
        "min_class": MIN_CLASS_PATIENTS,
    }


class Differing(NamedTuple):
    """One measure of one group, and the labels in which it is lower or higher than among the rest."""

    group: str
    measure: str
    lower: list[str]
    higher: list[str]


def summary(differing: Iterable[Difference], names: list[str]) -> list[Differing]:
    """The differences by group and measure; labels in the data set's order."""
    found: dict[tuple[str, str, int], Differing] = {}
    for one in sorted(differing, key=lambda one: one.label):
        key = (one.attribute, one.value, COMPARED.index(one.measure))
        row = found.setdefault(key, Differing(f"{one.attribute}\u00a0{one.value}", one.measure, [], []))
        (row.higher if one.difference > 0 else row.lower).append(names[one.label])
    return [found[key] for key in sorted(found)]


def _in_group(groups: Groups, one: Difference) -> Estimate | None:
    """The measure in the group alone."""
    field = {"AUC": "auc", "observed / expected": "observed_over_expected"}.get(one.measure, one.measure)
    for row in groups.rows:
        if (row.group.attribute, row.group.value) == (one.attribute, one.value):
            found = row.labels[one.label]
            return None if found is None else getattr(found, field)
    return None
