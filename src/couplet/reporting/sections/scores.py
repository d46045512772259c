"""All metrics of each fold, of all folds together and of the test part; what their intervals are of, and are not."""

from __future__ import annotations

from typing import Any

from couplet.evaluation.metrics import THRESHOLD
from couplet.reporting.estimates import SCORES
from couplet.reporting.no_information import EXAMPLE, loss_in_words, no_information_output
from couplet.reporting.section import Drawn
from couplet.reporting.tables import legend, scores_no_risks
from couplet.results.run import Run

TITLE = "Scores"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """Two tables of the same rows, of all labels and of an image's three highest; what the loss makes of a risk."""
    loss, rows = run.params.loss, drawn.scores.rows
    names = {key: name for key, name in SCORES.items() if key in rows[0].top3}
    return {
        "tables": [
            ("All labels", list(SCORES.values()), [(row, list(row.scores.values())) for row in rows]),
            (
                "An image’s three highest labels",
                list(names.values()),
                [(row, list(row.top3.values())) for row in rows],
            ),
        ],
        "within": drawn.scores.within,
        "pooled": drawn.scores.oof.scores["auc_macro"],
        "scales_differ": drawn.scores.scales_differ,
        "several": len(run.folds) > 1,
        "legend": legend(one for row in rows for one in (*row.scores.values(), *row.top3.values())),
        "scores_no_risks": scores_no_risks(run),
        "loss_words": loss_in_words(loss),
        "example": EXAMPLE,
        "example_output": no_information_output(loss, EXAMPLE),
        "threshold": THRESHOLD,
    }
