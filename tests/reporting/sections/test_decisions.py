"""Decisions and sets: thresholds with their range, what they achieve, and what is promised."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from tests.reporting.sections.conftest import section
from tests.support.pages import text_of

LABELS = ["Edema", "Pneumonia"]


def test_the_thresholds_with_their_range_and_shares(rendered: Callable) -> None:
    run, page = rendered(labels=LABELS)
    text = text_of(section(page, "decisions"))
    assert "PPV and NPV are of this data set’s prevalence." in text
    table = pd.read_csv(run.manifest.project.thresholds_plot)
    for i, label in enumerate(LABELS):
        threshold = run.calibrated.points["youden"][i].value
        row = table[(table["label"] == label) & (table["rule"] == "youden")].iloc[0]
        assert f"{label} {threshold:.3g} {row['low']:.3g} to {row['high']:.3g}" in text
        q, y = run.calibrated.test_q[:, i], run.truth[run.test_rows, i]
        assert f"{(q[y == 1] >= threshold).mean():.3f} [" in text
        own = run.calibrated.oof_thresholds["youden"][:, i]
        y = run.truth[run.oof_rows, i]
        assert f"{(run.calibrated.oof_q[:, i] < own)[y == 0].mean():.3f} [" in text, (
            "cross-fitted specificity"
        )
    assert "in 90% of 200 resamples of the patients, which is the spread of the calibrator" in text


def test_what_cannot_be_reached_is_said_in_words(rendered: Callable) -> None:
    _, page = rendered(labels=LABELS, changes={"decision.rule": "sensitivity", "decision.sensitivity": 0.999})
    text = text_of(section(page, "decisions"))
    assert "2 of 2 labels have no threshold" in text and "What the thresholds achieve" not in text
    assert "not reachable: " in text and "patients have an image of the class, 999 needed" in text
    assert "Wanted: 100%" not in text and "Wanted: 99.9%" in text


def test_sets_say_promise_and_measured_coverage(rendered: Callable) -> None:
    run, page = rendered(labels=LABELS)
    text = text_of(section(page, "sets"))
    assert "Promised: for a random image of a random new patient who has the class in that view" in text
    assert "Not promised: for one image" in text
    table = pd.read_csv(run.manifest.project.sets_plot)
    for row in table.itertuples():
        words = f"{row.label} {row[2]} {row.category} {row.patients} {row.expected_low:.2f} to"
        assert words in text
        rest = text[text.index(words) + len(words) :]
        assert rest.startswith(f" {row.expected_high:.2f} {row.coverage:.3f}"), (words, rest[:60])
    assert "AUGRC" in text


def test_sets_without_views_and_without_patients(rendered: Callable) -> None:
    run, page = rendered(labels=LABELS, columns={"view": [""]}, changes={"split.group_by": "none"})
    text = text_of(section(page, "sets"))
    assert "the promise is withdrawn" in text and "Promised: nothing." in text
    assert "No view is known in this data set, so the sets are over all images together." in text
    assert run.calibrated.categories == ["all images"] and "View" not in text


def test_few_patients_never_rule_a_class_out(rendered: Callable) -> None:
    run, page = rendered(labels=LABELS, n_images=90, changes={"decision.alpha": 0.01})
    assert (run.calibrated.conformal.patients() < 99).all() and np.isin(run.calibrated.decisions, 2).all()
    text = text_of(section(page, "sets"))
    assert "A class with fewer than 99 patients in a view is never ruled out: Edema, Pneumonia." in text
    assert "1: never ruled out" in text
