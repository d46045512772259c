"""Every label's AUC with its interval and its folds, out of fold, and which labels go together."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from couplet.evaluation.intervals import delong_intervals
from couplet.evaluation.metrics import average_precision_per_label
from couplet.reporting.no_information import states_the_risk
from couplet.reporting.section import Drawn
from couplet.reporting.selection import ROW_LABELS, grid_labels, selection_note
from couplet.reporting.tables import no_information
from couplet.results.run import Run

TITLE = "Label by label"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """A row per label with its marks on the scale, the scale's start, and the figure of correlations."""
    rows = label_rows(run)
    start = axis_start(rows)
    marked = [(row, forest(row, start)) for row in rows]
    # Up to as many labels as a figure has rows, all are in sight; of more the most frequent ones.
    shown = grid_labels(run) if len(rows) > ROW_LABELS else range(len(rows))
    return {
        "rows": marked,
        "most_frequent": [marked[i] for i in shown],
        "selection_note": selection_note(run, shown),
        "axis_start": start,
        "with_no_information": not states_the_risk(run.params.loss),
        "correlation": drawn.gallery.correlation,
    }


class LabelRow(NamedTuple):
    """One label; None where a number does not exist."""

    label: str
    positives: int
    known: int
    auc_per_fold: list[float | None]
    auc_mean: float | None
    auc: float | None  # all out-of-fold predictions together
    low: float | None
    high: float | None
    average_precision: float | None
    no_information: float | None
    reason: str  # why there is no AUC

    @property
    def prevalence(self) -> float | None:
        """Share of positives among the images whose label is known."""
        return self.positives / self.known if self.known else None


def label_rows(run: Run) -> list[LabelRow]:
    """Per-label results out of fold, in the data set's order."""
    truth, predicted = run.truth[run.oof_rows], run.oof_probabilities
    delong = delong_intervals(truth, predicted, run.patients[run.oof_rows])
    auc, low, high = np.asarray(delong.auc), np.asarray(delong.low), np.asarray(delong.high)
    precision = average_precision_per_label(truth, predicted)
    rows = []
    for i, label in enumerate(run.labels):
        known, positives = int(np.isfinite(truth[:, i]).sum()), int((truth[:, i] == 1).sum())
        per_fold = [_number(fold.auc[i]) for fold in run.folds]
        there = [value for value in per_fold if value is not None]
        share = positives / known if known else 0.0
        rows.append(
            LabelRow(
                label=label,
                positives=positives,
                known=known,
                auc_per_fold=per_fold,
                auc_mean=float(np.mean(there)) if there else None,
                auc=_number(auc[i]),
                low=_number(low[i]),
                high=_number(high[i]),
                average_precision=_number(precision[i]),
                no_information=_number(no_information(run, share)),
                reason=_why_no_auc(positives, known),
            )
        )
    return rows


def axis_start(rows: list[LabelRow]) -> float:
    """Left end of the per-label AUC scale: 0.5, or lower in tenths if any AUC or interval is."""
    values = [v for row in rows for v in (row.auc, row.low, *row.auc_per_fold) if v is not None]
    return min(0.5, float(np.floor(min(values, default=0.5) * 10) / 10))


def forest(row: LabelRow, start: float, width: int = 132, pad: int = 6) -> dict[str, Any]:
    """Where a label's AUC, its interval and its folds stand on a scale from `start` to 1, in pixels."""

    def x(value: float) -> str:
        return f"{pad + (value - start) / (1 - start) * (width - 2 * pad):.1f}"

    return {
        "auc": None if row.auc is None else x(row.auc),
        "interval": None if row.low is None or row.high is None else (x(row.low), x(row.high)),
        "folds": [x(value) for value in row.auc_per_fold if value is not None],
        "chance": x(0.5),
    }


def _why_no_auc(positives: int, known: int) -> str:
    if not known:
        return "no image has this label known"
    if not positives:
        return "no positive image"
    return "no negative image" if positives == known else ""


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
