"""Whether the probabilities are risks: before and after calibration, out of fold and on the test part."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from couplet.evaluation.estimate import LEVEL, Estimate
from couplet.evaluation.proportions import proportion
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
        "shares": other_shares(run),
    }


class OtherShare(NamedTuple):
    """A label whose share of positives in the test part is another than out of fold, `oof`."""

    label: str
    oof: float
    test: Estimate


def other_shares(run: Run) -> list[OtherShare]:
    """The labels of which the test part has another share of positives than the images out of fold, the farthest first.

    Where the interval of the test part's share, by patient and at a level for all labels together (Bonferroni), leaves
    out the share out of fold. A probability that is right out of fold is then wrong there, whatever the model.
    """
    found = []
    if run.test_labelled:
        level = 1 - (1 - LEVEL) / len(run.labels)
        for i, label in enumerate(run.labels):
            known = run.truth[run.oof_rows, i]
            known = known[np.isfinite(known)]
            truth = run.truth[run.test_rows, i]
            share = proportion(truth, run.patients[run.test_rows], level)
            if len(known) and share.low is not None and share.high is not None:
                oof = float(known.mean())
                if not share.low <= oof <= share.high:
                    found.append(OtherShare(label, oof, share))
    return sorted(found, key=lambda one: -abs((one.test.value or 0.0) - one.oof))
