"""The report's tables as plain rows: numbers and the reasons where there are none, no markup."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from couplet.reporting.no_information import no_information_output, states_the_risk
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
OVERALL = (
    "op",
    "or",
    "of1",
)  # of all known cells together; the others are means over labels with both classes


class Score(NamedTuple):
    """A number, or why there is none."""

    value: float | None
    reason: str = ""


def score(metrics: dict[str, Any], key: str) -> Score:
    """One metric of a metrics file; null becomes its reason."""
    value = metrics.get(key)
    if value is not None:
        return Score(float(value))
    if key in OVERALL:
        return Score(None, "no label has a positive here")
    return Score(None, "no label has both classes here")


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


def couplings_of_folds(run: Run) -> np.ndarray | None:
    """(K, L, L) masked A of every fold's model; None without a refiner."""
    matrices = [fold.couplings for fold in run.folds if fold.couplings is not None]
    return np.stack(matrices) if matrices else None


def no_information(run: Run, prevalence: float) -> float:
    """What this run's loss asks for where an image says nothing; NaN where that is the prevalence or not known."""
    loss = run.params.loss
    return float("nan") if states_the_risk(loss) else no_information_output(loss, prevalence)
