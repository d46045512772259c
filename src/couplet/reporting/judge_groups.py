"""What the section `groups` shows of a run: subgroups, how they differ from the rest, and shortcuts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from couplet.evaluation.estimate import Estimate
from couplet.evaluation.groups import UNKNOWN, age_bands, named
from couplet.evaluation.ordering import codes
from couplet.evaluation.shortcuts import ATTENTION
from couplet.reporting import style
from couplet.reporting.figures_forest import Column, Series, ends, forest
from couplet.reporting.parts import Part
from couplet.reporting.picture import Picture
from couplet.reporting.rows_differences import Difference, differences
from couplet.reporting.rows_groups import GroupLabel, GroupRow, Judged, folded, group_rows, with_coverage
from couplet.reporting.rows_shortcuts import ShortcutRow, shortcut_rows
from couplet.reporting.selection import grid_labels, selection_note
from couplet.results.group_columns import refuse_unknown_groups
from couplet.results.metadata import ages_in_years
from couplet.results.run import Run

MOST_SERIES = 6  # groups of one attribute in the picture: as many as there are colours


@dataclass(frozen=True)
class Groups:
    """All of it, of the labels `shown`; `lacking`: attributes that this data set does not have."""

    shown: list[int]
    rows: list[GroupRow]
    differences: list[Difference]
    shortcuts: list[ShortcutRow]
    lacking: list[str]
    picture: Picture | None
    note: str


def judge_groups(run: Run, parts: list[Part]) -> Groups:
    """Judge subgroups of the images out of fold at the common thresholds."""
    part, shown = parts[0], grid_labels(run)
    thresholds = run.calibrated.oof_thresholds[run.params.decision.rule]
    chosen = part.of(shown)
    judged = Judged(chosen.truth, chosen.raw, chosen.q, thresholds[:, shown], part.patients)
    found, everybody = attributes(run), codes(run.patients)
    known = {
        name: folded(values, everybody)
        for name, values in found.items()
        if (values[part.rows] != UNKNOWN).any()
    }
    present = {name: values[part.rows] for name, values in known.items()}
    rows = [_sourced(row, part) for row in group_rows(judged, present)]
    test = next((one for one in parts if one.name == "test" and one.labelled), None)
    if test is not None:
        there = {name: values[test.rows] for name, values in known.items()}
        decision = run.calibrated.decisions[:, shown]
        rows = with_coverage(rows, there, test.truth[:, shown], decision, test.patients)
    return Groups(
        shown=shown,
        rows=rows,
        differences=[_difference_sourced(one, part) for one in differences(judged, rows)],
        shortcuts=[
            _shortcut_sourced(row, part)
            for row in shortcut_rows(judged, present, np.asarray(run.calibrated.parts), run.scored[shown])
        ],
        lacking=[name for name in found if name not in present],
        picture=_picture(run, rows, shown),
        note=selection_note(run, shown),
    )


def attributes(run: Run) -> dict[str, np.ndarray]:
    """Name -> (N,) texts: sex, age band, view and the columns that report.groups names.

    Raises:
        UserError: the manifest has no such column.
    """
    table = run.manifest.table
    found = {
        "sex": named(table["sex"].to_numpy()),
        "age": age_bands(ages_in_years(table["age"].to_numpy())),
        "view": named(table["view"].to_numpy()),
    }
    refuse_unknown_groups(run.manifest, run.params.report.groups)
    for name in run.params.report.groups:
        found[name] = named(table[name].to_numpy())
    return found


def attention(groups: Groups) -> list[ShortcutRow]:
    """The attributes that contribute more than 0.02 to the macro-AUC."""
    return [row for row in groups.shortcuts if row.contributes > ATTENTION]


def _sourced(row: GroupRow, part: Part) -> GroupRow:
    """With the part's files and flags; the AUC is of raw outputs, the rest of calibrated ones."""
    labels: list[GroupLabel | None] = []
    for one in row.labels:
        if one is None:
            labels.append(None)
            continue
        auc = one.auc.flagged(*part.raw_flags).of(*part.raw_source)
        rest = [estimate.flagged(*part.q_flags).of(*part.q_source) for estimate in one[1:]]
        labels.append(GroupLabel(auc, *rest))
    return replace(row, labels=labels)


def _difference_sourced(one: Difference, part: Part) -> Difference:
    raw = one.measure == "AUC"
    flags, source = (part.raw_flags, part.raw_source) if raw else (part.q_flags, part.q_source)
    return one._replace(estimate=one.estimate.flagged(*flags).of(*source))


def _shortcut_sourced(row: ShortcutRow, part: Part) -> ShortcutRow:
    def told(one: Estimate) -> Estimate:
        return one.flagged(*part.raw_flags).of(*part.raw_source)

    pooled, within, alone = (
        column._replace(per_label=[told(one) for one in column.per_label], macro=told(column.macro))
        for column in (row.pooled, row.within, row.attribute_only)
    )
    difference = [told(one) for one in row.difference]
    return ShortcutRow(row.attribute, pooled, within, alone, difference)


def _picture(run: Run, rows: list[GroupRow], shown: list[int]) -> Picture | None:
    columns = []
    for attribute in dict.fromkeys(row.group.attribute for row in rows):
        groups = [row for row in rows if row.group.attribute == attribute and any(row.labels)]
        groups = sorted(groups, key=lambda row: -row.group.n_patients)[:MOST_SERIES]
        groups = [row for row in rows if any(row is one for one in groups)]
        if len(groups) < 2:
            continue
        series = [
            Series(
                ends([None if one is None else one.observed_over_expected for one in row.labels]),
                style.short(row.group.value, 12),
                style.FOLD_COLOURS[i],
                style.FOLD_MARKERS[i],
            )
            for i, row in enumerate(groups)
        ]
        columns.append(Column(attribute, series, line=1.0, log=True, limits=(0.2, 5.0)))
    if not columns:
        return None
    caption = (
        "Positives that there are, divided by those that the calibrated probabilities expect, in each group, out of "
        "fold, with the 95% interval by patient. On the dashed line they agree; right of it the probabilities are too "
        "low for the group, left of it too high. Without a mark: fewer than 10 patients with or 10 without the finding."
        f"{selection_note(run, shown)}"
    )
    drawn = forest([run.labels[i] for i in shown], columns)
    return Picture("groups", drawn, "Observed / expected in each group", caption)
