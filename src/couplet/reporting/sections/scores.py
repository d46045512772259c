"""All metrics of each fold, of all folds together and of the test part; a word on calibration."""

from __future__ import annotations

from typing import Any

from couplet.evaluation.metrics import THRESHOLD
from couplet.reporting import tables
from couplet.reporting.no_information import (
    EXAMPLE,
    loss_in_words,
    no_information_output,
    states_the_risk,
)
from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Scores"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """Two tables of the same rows, of all labels and of an image's three highest; what the loss makes of a risk."""
    loss = run.params.loss
    return {
        "score_names": list(tables.SCORES.values()),
        "top3_names": list(tables.TOP3.values()),
        "score_rows": tables.score_rows(run),
        "scores_no_risks": not states_the_risk(loss),
        "loss_words": loss_in_words(loss),
        "example": EXAMPLE,
        "example_output": no_information_output(loss, EXAMPLE),
        "threshold": THRESHOLD,
    }
