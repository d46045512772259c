"""The report's tables as plain rows: numbers and the reasons where there are none, no markup."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from couplet.evaluation.intervals import delong_intervals, macro_auc_interval
from couplet.evaluation.metrics import average_precision_per_label
from couplet.reporting import analysis
from couplet.reporting.inputs import Run

SCORES = {
    "auc_macro": "macro-AUC",
    "map": "mAP",
    "cp": "CP",
    "cr": "CR",
    "cf1": "CF1",
    "op": "OP",
    "or": "OR",
    "of1": "OF1",
}
TOP3 = {key: name for key, name in SCORES.items() if key not in ("auc_macro", "map")}


class Score(NamedTuple):
    """A number, or why there is none."""

    value: float | None
    reason: str = ""


def score(metrics: dict[str, Any], key: str) -> Score:
    """One metric of a metrics file; null becomes its reason."""
    value = metrics.get(key)
    if value is not None:
        return Score(float(value))
    if key == "auc_macro":
        return Score(None, "no label has both classes here")
    return Score(None, "no label has a positive here")


def score_rows(run: Run) -> list[tuple[str, int, list[Score]]]:
    """(name, images, scores in the order of SCORES and TOP3) of each fold, of all, and of the test part."""
    sources = [(f"Fold {fold.fold}", fold.metrics) for fold in run.folds]
    if len(run.folds) > 1:
        sources.append(("All folds", run.ensemble["oof"]))
    if "test" in run.ensemble:
        sources.append(("Test part", run.ensemble["test"]))
    return [
        (
            name,
            metrics["n_images"],
            [*(score(metrics, key) for key in SCORES), *(score(metrics["top3"], key) for key in TOP3)],
        )
        for name, metrics in sources
    ]


def oof_interval(run: Run) -> tuple[float, float] | None:
    """95% interval of the out-of-fold macro-AUC, a patient's images together; None if not computable."""
    return _macro_interval(run, run.oof_rows, run.oof_probabilities)


def test_interval(run: Run) -> tuple[float, float] | None:
    """The same of the test part."""
    return _macro_interval(run, run.test_rows, run.test_probabilities)


def _macro_interval(run: Run, rows: np.ndarray, probabilities: np.ndarray) -> tuple[float, float] | None:
    result = macro_auc_interval(run.truth[rows], probabilities, run.patients[rows])
    return (float(result.low), float(result.high)) if np.isfinite(result.standard_error) else None


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


def no_information(run: Run, prevalence: float) -> float:
    """What this run's loss predicts for an image that says nothing; NaN unless it is plain ASL."""
    loss = run.params.loss
    if loss.name != "asl" or loss.smoothing:
        return float("nan")
    return analysis.no_information_probability(prevalence, loss.gamma_pos, loss.gamma_neg, loss.clip)


def _why_no_auc(positives: int, known: int) -> str:
    if not known:
        return "no image has this label known"
    if not positives:
        return "no positive image"
    return "no negative image" if positives == known else ""


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
