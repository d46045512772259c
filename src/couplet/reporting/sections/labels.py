"""Every label's AUC with its interval and its folds, out of fold, and which labels go together."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from couplet.evaluation.estimate import Estimate
from couplet.evaluation.prevalence import prevalences
from couplet.reporting.chance import against_chance
from couplet.reporting.estimates import RunScores
from couplet.reporting.section import Drawn
from couplet.reporting.selection import ROW_LABELS, grid_labels, selection_note
from couplet.reporting.tables import legend, no_information, scores_no_risks
from couplet.results.run import Run

TITLE = "Label by label"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """A row per label with its marks on the scale, the scale's start, and the figure of correlations."""
    rows = label_rows(run, drawn.scores)
    start = axis_start(rows)
    marked = [(row, forest(row, start)) for row in rows]
    # Up to as many labels as a figure has rows, all are in sight; of more the most frequent ones.
    shown = grid_labels(run) if len(rows) > ROW_LABELS else range(len(rows))
    return {
        "rows": marked,
        "most_frequent": [marked[i] for i in shown],
        "selection_note": selection_note(run, shown),
        "axis_start": start,
        "against_chance": against_chance(drawn.scores, run.labels),
        "several": len(run.folds) > 1,
        "legend": legend(one for row in rows for one in (row.auc, row.within, row.average_precision)),
        "with_no_information": scores_no_risks(run),
        "correlation": drawn.gallery.correlation,
    }


class LabelRow(NamedTuple):
    """One label out of fold."""

    label: str
    positives: int
    known: int
    auc: Estimate  # all out-of-fold predictions together
    within: Estimate  # pairs within a fold alone
    scales_differ: bool  # the two are more than a standard error apart
    auc_per_fold: list[Estimate]
    average_precision: Estimate
    no_information: float | None

    @property
    def prevalence(self) -> float | None:
        """Share of positives among the images whose label is known."""
        return self.positives / self.known if self.known else None


def label_rows(run: Run, scores: RunScores) -> list[LabelRow]:
    """Per-label results out of fold, in the data set's order."""
    truth = run.truth[run.oof_rows]
    known, positives = np.isfinite(truth).sum(axis=0), (truth == 1).sum(axis=0)
    idle = no_information(run, prevalences(truth))
    rows = []
    for i, label in enumerate(run.labels):
        rows.append(
            LabelRow(
                label=label,
                positives=int(positives[i]),
                known=int(known[i]),
                auc=scores.oof.auc[i],
                within=scores.within_auc[i],
                scales_differ=scores.scales_differ_in[i],
                auc_per_fold=[fold.auc[i] for fold in scores.folds],
                average_precision=scores.oof.average_precision[i],
                no_information=float(idle[i]) if np.isfinite(idle[i]) else None,
            )
        )
    return rows


def axis_start(rows: list[LabelRow]) -> float:
    """Left end of the per-label AUC scale: 0.5, or lower in tenths if any AUC or its interval is."""
    values = [v for row in rows for v in (row.auc.value, row.auc.low) if v is not None]
    values += [one.value for row in rows for one in row.auc_per_fold if one.value is not None]
    return min(0.5, float(np.floor(min(values, default=0.5) * 10) / 10))


def forest(row: LabelRow, start: float, width: int = 132, pad: int = 6) -> dict[str, Any]:
    """Where a label's AUC, its interval and its folds stand on a scale from `start` to 1, in pixels."""

    def x(value: float) -> str:
        return f"{pad + (value - start) / (1 - start) * (width - 2 * pad):.1f}"

    auc = row.auc
    return {
        "auc": None if auc.value is None else x(auc.value),
        "interval": None if auc.low is None or auc.high is None else (x(auc.low), x(auc.high)),
        "folds": [x(one.value) for one in row.auc_per_fold if one.value is not None],
        "chance": x(0.5),
    }
