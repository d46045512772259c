"""What an attribute alone contributes to the AUCs, as rows with intervals by patient: no markup.

See also: `couplet.evaluation.shortcuts`, the same numbers without intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from couplet.evaluation.estimate import Estimate
from couplet.evaluation.jackknife import (
    Estimates,
    auc_estimates,
    combined_df,
    estimates_of,
    mean_over_labels,
)
from couplet.evaluation.leave_one_out import LeaveOneOut, influence, leave_one_out_auc
from couplet.evaluation.shortcuts import attribute_predictor
from couplet.reporting.rows_differences import jackknifed
from couplet.reporting.rows_groups import Judged


class ShortcutRow(NamedTuple):
    """What one attribute contributes to the AUCs: three AUCs per label, and their macro over the labels with all three.

    `difference` is pooled minus within, with the macro last.
    """

    attribute: str
    pooled: Estimates
    within: Estimates
    attribute_only: Estimates
    difference: list[Estimate]

    @property
    def contributes(self) -> float:
        """Pooled minus within, of the macro-AUC; NaN where no label has both."""
        value = self.difference[-1].value
        return float("nan") if value is None else value


def shortcut_rows(
    judged: Judged,
    attributes: Mapping[str, np.ndarray],
    folds: np.ndarray,
    scored: np.ndarray | None = None,
) -> list[ShortcutRow]:
    """Pooled AUC, AUC within the attribute, and AUC of a predictor that knows the attribute alone.

    Args:
        judged: n images out of fold.
        attributes: name -> (n,) texts; one with a single value has no row.
        folds: (n,) over which the attribute's own predictor is cross-fitted.
        scored: (L,) labels that may be in the macro (inference.unscored); None: all.
    """
    truth, p, patients = judged.truth, judged.p, judged.patients
    left_out = list(leave_one_out_auc(truth, p, patients))
    pooled = estimates_of(truth, left_out)
    rows = []
    for name, values in attributes.items():
        if len(np.unique(values)) < 2:
            continue
        predictor = attribute_predictor(truth, values, folds)
        left_within = list(leave_one_out_auc(truth, p, patients, strata=values))
        within = estimates_of(truth, left_within)
        alone = auc_estimates(truth, predictor, patients, strata=folds)
        columns = (pooled, within, alone)
        there = [_all_there(row) for row in zip(*(c.per_label for c in columns), strict=True)]
        whole = [i for i, known in enumerate(there) if known and (scored is None or scored[i])]
        differences = [_minus(a, b) for a, b in zip(left_out, left_within, strict=True)]
        macro = _minus(*(_macro([side[i] for i in whole]) for side in (left_out, left_within)))
        scores = ((p, None), (p, values), (predictor, folds))
        told = [
            column if len(whole) == _defined(column) else _macro_of(column, whole, truth, patients, *score)
            for column, score in zip(columns, scores, strict=True)
        ]
        first, second, third = told
        rows.append(ShortcutRow(name, first, second, third, [*differences, macro]))
    return rows


# --- means over labels and differences -------------------------------------------------------------------------


def _all_there(row: Iterable[Estimate]) -> bool:
    return all(one.value is not None for one in row)


def _defined(column: Estimates) -> int:
    return sum(one.value is not None for one in column.per_label)


def _macro_of(
    column: Estimates,
    whole: list[int],
    truth: np.ndarray,
    patients: np.ndarray,
    scores: np.ndarray,
    strata: np.ndarray | None,
) -> Estimates:
    """The column, its macro over the labels `whole` alone."""
    return column._replace(macro=auc_estimates(truth[:, whole], scores[:, whole], patients, strata).macro)


def _macro(labels: list[LeaveOneOut]) -> LeaveOneOut:
    """The mean over labels, without each patient; degrees of freedom by Satterthwaite."""
    if not labels:
        return LeaveOneOut(np.nan, np.zeros(0), np.zeros(0, bool), 0, None, 0, "no label has all three")
    value, without, known = mean_over_labels(labels)
    reason = next((one.reason for one in labels if one.reason), "")
    df = 0 if reason else combined_df([one.variance for one in labels], [one.df for one in labels])
    n_images = max(one.n_images for one in labels)
    return LeaveOneOut(value, without, known, n_images, None, df, reason)


def _minus(one: LeaveOneOut, other: LeaveOneOut) -> Estimate:
    """One minus the other, of the same images, jackknifed together."""
    known = one.known | other.known
    about: dict[str, Any] = {"n_images": one.n_images, "n_patients": int(known.sum())}
    about["n_positive_patients"] = one.n_positive
    value = one.value - other.value
    reason = one.reason or other.reason
    if np.isnan(value) or reason:
        return Estimate(None if np.isnan(value) else value, reason=reason or "undefined", **about)
    variance = float((influence(one.without - other.without, known) ** 2).sum())
    return jackknifed(value, variance, min(one.df, other.df), **about)
