"""Whether the probabilities are risks: before and after calibration, out of fold and on the test part."""

from __future__ import annotations

from typing import Any

from couplet.reporting.no_information import loss_in_words
from couplet.reporting.section import Drawn
from couplet.reporting.tables import scores_no_risks
from couplet.results.run import Run

TITLE = "Calibration"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """Means and a row per label of each labelled part, the curves, what the calibrators did, and the histograms."""
    found = drawn.gallery.trust.calibration
    settings = run.params.calibration
    return {
        "calibration": found,
        "method": settings.method,
        "unchanged": settings.method == "none",
        "sharpened": [one for one in found.fitted if one.kappa != 1],
        "not_checked": [one.label for one in found.fitted if "not checked" in one.flags],
        "loss_words": loss_in_words(run.params.loss),
        "scores_no_risks": scores_no_risks(run),
        "histograms": drawn.gallery.histograms,
        "hidden": run.has_test and not run.test_labelled,
    }
