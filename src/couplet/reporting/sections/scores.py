"""All metrics of each fold, of all folds together and of the test part; a word on calibration."""

from __future__ import annotations

from typing import Any

from couplet.evaluation.metrics import THRESHOLD
from couplet.reporting import tables
from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Scores"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """Two tables of the same rows: the scores of all labels, and of an image's three highest labels."""
    return {
        "score_names": list(tables.SCORES.values()),
        "top3_names": list(tables.TOP3.values()),
        "score_rows": tables.score_rows(run),
        "positives_weighted": bool(run.params.loss.args.get("pos_weight")),
        "threshold": THRESHOLD,
    }
