"""Label by label: where an AUC stands on its scale, and every number with its interval."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from couplet.evaluation.estimate import Estimate
from couplet.reporting.estimates import run_scores
from couplet.reporting.gallery import draw
from couplet.reporting.page import render
from couplet.reporting.sections.labels import LabelRow, axis_start, forest, label_rows
from couplet.results.run import read_run
from tests.support.pages import text_of

NOTHING = Estimate(None, reason="no positive image", n_positive_patients=0)


def of(value: float | None, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value, low, high, reason="" if low is not None else "one patient")


def row(auc: Estimate, auc_per_fold: list[Estimate]) -> LabelRow:
    return LabelRow("Edema", 3, 9, auc, NOTHING, False, auc_per_fold, NOTHING, None)


def test_the_scale_starts_at_chance_or_at_the_tenth_below_the_lowest_number() -> None:
    assert axis_start([]) == 0.5
    assert axis_start([row(of(0.8, 0.7, 0.9), [of(0.75), NOTHING])]) == 0.5
    assert axis_start([row(of(0.6, 0.42, 0.8), [of(0.55)]), row(NOTHING, [NOTHING, of(0.31)])]) == 0.3


def test_marks_stand_where_the_numbers_are() -> None:
    """132 pixels with 6 free on either side: 0.5 at 6, 1 at 126, 0.75 in the middle."""
    marks = forest(row(of(0.75, 0.5, 1.0), [of(0.625), NOTHING]), 0.5)
    assert marks == {"auc": "66.0", "interval": ("6.0", "126.0"), "folds": ["36.0"], "chance": "6.0"}
    assert forest(row(of(0.75), []), 0.0)["chance"] == "66.0"
    assert forest(row(of(0.75), []), 0.0)["interval"] is None


def test_every_label_has_its_numbers_with_intervals_or_reasons(project: Callable[..., Path]) -> None:
    project(n_images=180)
    run = read_run()
    rows = label_rows(run, run_scores(run))
    truth = run.truth[run.oof_rows]
    edema = rows[3]
    assert (edema.label, edema.positives, edema.known) == ("Edema", int((truth[:, 3] == 1).sum()), len(truth))
    assert edema.average_precision.value == pytest.approx(
        average_precision_score(truth[:, 3], run.oof_probabilities[:, 3])
    )
    assert edema.auc.n_positive_patients == len(np.unique(run.patients[run.oof_rows][truth[:, 3] == 1]))
    for one in rows:
        for estimate in (one.auc, one.within, one.average_precision, *one.auc_per_fold):
            assert (estimate.low is not None) or estimate.reason
            assert estimate.source and "selected" in estimate.flags
    assert rows[5].auc.reason == "no positive image", "Fracture"
    text = text_of(render(run, draw(run), None)).split("Label by label, out of fold")[1]
    assert f"{edema.auc.text(3)} {edema.within.text(3)} {edema.average_precision.text(3)}" in text
    assert "Fracture 0 images 0 patients 0.0% undefined, no interval: no positive image" in text
    per_fold = " ".join(estimate.text(3) for estimate in edema.auc_per_fold)
    assert f"Edema {per_fold}" in text.split("AUC of each label in each fold")[1]
