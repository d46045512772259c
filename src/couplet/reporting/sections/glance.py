"""The first screen: the headline numbers with their intervals, and what a reader must know before quoting them."""

from __future__ import annotations

from typing import Any

import numpy as np

from couplet.evaluation.intervals import macro_auc_interval
from couplet.reporting import tables
from couplet.reporting.gallery import folds_word
from couplet.reporting.headline import facts
from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "At a glance"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """Macro-AUC out of fold, of the test part and of each fold; the facts; what differs from the preset."""
    test_interval = None
    if run.test_labelled:
        test_interval = macro_interval(run, run.test_rows, run.test_probabilities)
    return {
        "oof": tables.oof_score(run),
        "oof_interval": macro_interval(run, run.oof_rows, run.oof_probabilities),
        "test": tables.test_score(run),
        "test_interval": test_interval,
        "folds_word": folds_word(run),
        "fold_auc": [(fold.fold, tables.score(fold.metrics, "auc_macro")) for fold in run.folds],
        "whole": tables.score_rows(run)[-1],
        "facts": facts(run),
    }


def macro_interval(run: Run, rows: np.ndarray, probabilities: np.ndarray) -> tuple[float, float] | None:
    """95% interval of the macro-AUC of these rows, a patient's images together; None if not computable."""
    result = macro_auc_interval(run.truth[rows], probabilities, run.patients[rows])
    return (float(result.low), float(result.high)) if np.isfinite(result.standard_error) else None
