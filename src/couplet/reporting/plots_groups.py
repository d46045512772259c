"""The tables of subgroups and shortcuts that `dvc plots` shows: small, in git, empty cells where nothing is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from couplet.evaluation.estimate import Estimate
from couplet.reporting.judge_groups import Groups
from couplet.reporting.rows_differences import COMPARED

DIGITS = "%.6g"
COVERAGE = ("coverage_present", "coverage_absent")
MEASURES = (
    "auc",
    "observed_over_expected",
    "intercept",
    "error",
    "sensitivity",
    "specificity",
    "ppv",
    "flagged",
    *COVERAGE,
)
SHORTCUTS = ("pooled", "within", "attribute_only", "difference")


def subgroups_table(groups: Groups, names: Sequence[str]) -> pd.DataFrame:
    """A row per group and label.

    Args:
        groups: of a run.
        names: of the L labels of the run.

    Returns:
        attribute, group, label, images and patients (of the group), positive_patients, negative_patients, prevalence;
        each measure with the ends of its interval, empty where the group or the label in it is too small; per measure
        the p-value, after Holm, of being different from the rest, empty where that was not tested. `error` is the
        calibration error, which has no interval; coverage is of the test part, all else out of fold.
    """
    tests = {(one.attribute, one.value, one.label, one.measure): one.p_holm for one in groups.differences}
    rows = []
    for row in groups.rows:
        group = row.group
        for i, label in enumerate(groups.shown):
            one, coverage = row.labels[i], row.coverage[i]
            found: dict[str, Estimate] = {} if one is None else one._asdict()
            if coverage is not None:
                found |= dict(zip(COVERAGE, coverage, strict=True))
            rows.append(
                [
                    group.attribute,
                    group.value,
                    names[label],
                    group.n_images,
                    group.n_patients,
                    int(group.positive_patients[i]),
                    int(group.negative_patients[i]),
                    row.prevalence[i],
                    *_cells(found.get(name) for name in MEASURES),
                    *(tests.get((group.attribute, group.value, i, measure)) for measure in COMPARED),
                ]
            )
    about = ["attribute", "group", "label", "images", "patients", "positive_patients", "negative_patients"]
    p_values = [f"p_{measure.lower().replace(' / ', '_over_')}" for measure in COMPARED]
    return pd.DataFrame(rows, columns=[*about, "prevalence", *_columns(MEASURES), *p_values])


def shortcuts_table(groups: Groups, names: Sequence[str]) -> pd.DataFrame:
    """A row per attribute and label: three AUCs and pooled minus within, each with the ends of its interval.

    The last row of an attribute, `macro`, is of the means over labels.

    Args:
        groups: of a run.
        names: of the L labels of the run.
    """
    rows = []
    for row in groups.shortcuts:
        columns = (row.pooled, row.within, row.attribute_only)
        for i, label in enumerate(groups.shown):
            found = (*(column.per_label[i] for column in columns), row.difference[i])
            rows.append([row.attribute, names[label], *_cells(found)])
        whole = (*(column.macro for column in columns), row.difference[-1])
        rows.append([row.attribute, "macro", *_cells(whole)])
    return pd.DataFrame(rows, columns=["attribute", "label", *_columns(SHORTCUTS)])


def _columns(names: Sequence[str]) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


def _cells(estimates: Iterable[Estimate | None]) -> list[float | None]:
    cells: list[float | None] = []
    for one in estimates:
        cells += (None, None, None) if one is None else (one.value, one.low, one.high)
    return cells
