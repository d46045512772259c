"""The report's tables as plain rows: numbers and the reasons where there are none, no markup."""

from __future__ import annotations

from typing import Any, NamedTuple

from couplet.reporting import analysis
from couplet.results.run import Run

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


def oof_score(run: Run) -> Score:
    """Macro-AUC of all out-of-fold predictions."""
    return score(run.ensemble["oof"], "auc_macro")


def test_score(run: Run) -> Score | None:
    """Macro-AUC of the test part; None if there is none, or without known labels."""
    return score(run.ensemble["test"], "auc_macro") if "test" in run.ensemble else None


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


def no_information(run: Run, prevalence: float) -> float:
    """What this run's loss predicts for an image that says nothing; NaN unless it is plain ASL."""
    loss = run.params.loss
    if loss.name != "asl" or loss.smoothing:
        return float("nan")
    args = loss.args
    return analysis.no_information_probability(prevalence, args["gamma_pos"], args["gamma_neg"], args["clip"])
