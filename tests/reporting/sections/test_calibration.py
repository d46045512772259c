"""Calibration: numbers with intervals before and after, and what is said where the test part says nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from couplet.evaluation.calibration.error import log_losses
from couplet.evaluation.estimate import source_of
from couplet.reporting.parts import parts_of
from couplet.reporting.sections.calibration import other_shares
from tests.reporting.sections.conftest import section
from tests.support.pages import text_of

LABELS = ["Edema", "Pneumonia"]


def test_before_and_after_of_both_parts(rendered: Callable) -> None:
    run, page = rendered(labels=LABELS)
    html = section(page, "calibration")
    text = text_of(html)
    assert "fitted on all images out of fold (beta calibration" in text and "hidden" not in text
    for part in parts_of(run):
        for values, flags in ((part.raw, part.raw_flags), (part.q, part.q_flags)):
            loss = np.nanmean(np.nanmean(log_losses(part.truth, values), axis=0))
            # Unknown cells weigh a macro mean's images differently, but not its value.
            assert f"{loss:.4f}" in text
            assert all(flag in text for flag in flags)
    assert html.count('<th scope="row" rowspan="2">') == 2 * len(LABELS)
    assert "Calibrators of 2 labels" in text
    for one in run.calibrated.calibrators:
        assert one.beta is not None and f"{one.beta.a:.2f}".replace("-", "−") in text


def test_every_estimate_names_files_that_are_here(rendered: Callable) -> None:
    run, page = rendered(labels=LABELS, columns={"sex": ["F", "F", "F", "M", "M", "M"]})
    project = run.manifest.project
    files = [
        *(project.fold_predictions(fold.fold) for fold in run.folds),
        *(project.ensemble / f"{name}.csv" for name in ("test", "calibrated", "oof_calibrated", "decisions")),
    ]
    known = {source_of(path, project.root).md5 for path in files}
    for name in ("calibration", "decisions", "sets", "groups"):
        cells = re.findall(
            r'class="estimate" data-source="(.*?)" title=".*?">(.*?</span> <span.*?)</span>',
            section(page, name),
        )
        assert len(cells) == section(page, name).count('class="estimate"')
        assert len(cells) > 5, name
        for md5, text in cells:
            assert md5 and set(md5.split()) <= known, (name, text)
            assert 'class="interval"' in text or 'class="reason"' in text, (name, text)


def test_hidden_labels_and_no_test_part_are_said(rendered: Callable) -> None:
    _, page = rendered(labels=LABELS, test_labelled=False)
    for name, words in {
        "calibration": "The labels of the test part are hidden, so whether the ensemble is calibrated is not measured",
        "decisions": "The labels of the test part are hidden : what the ensemble’s thresholds achieve there is not",
        "sets": "The labels of the test part are hidden : whether the sets keep the promise is not measured",
    }.items():
        assert words.replace(" :", ":") in text_of(section(page, name)).replace(" :", ":").replace(
            " ,", ","
        ), name
    assert "Do the sets keep their promise" not in page and "Sure: one class" in page

    _, page = rendered(labels=LABELS, test=False)
    assert "There is no test part: what is below is of single models" in text_of(section(page, "calibration"))
    assert "There is no test part: what is below is of single models" in text_of(section(page, "decisions"))
    assert "There is no test part, so there are no sets to look at" in text_of(section(page, "sets"))


@pytest.mark.parametrize("method", ["inverse", "none"])
def test_other_methods(rendered: Callable, method: str) -> None:
    run, page = rendered(labels=LABELS, changes={"calibration.method": method})
    text = text_of(section(page, "calibration"))
    assert "cross-fitted)" not in text and parts_of(run)[0].q_flags == ("selected",)
    if method == "none":
        assert "calibration.method is none" in text and "before" not in text and "as they are" in text
        assert "do not read them as risks" in text
    else:
        assert "mapped by the loss’s own inverse, which needs no labels" in text


def test_a_label_of_one_class_is_named(rendered: Callable) -> None:
    """The sixth label of the made-up project has no positive image."""
    _, page = rendered()
    text = text_of(section(page, "calibration"))
    assert "Not checked, since one class is missing out of fold: Fracture." in text
    assert "undefined, no interval: one class only" in text
    assert "1 of 14 labels have no threshold" in text_of(section(page, "decisions"))
    assert "Fracture no positive image" in text_of(section(page, "decisions"))
    assert "not listed: one class only out of fold" in text_of(section(page, "suspicious"))


def test_one_fold(rendered: Callable) -> None:
    _, page = rendered(labels=LABELS, folds=1, changes={"split.holdout": 0.3})
    text = text_of(section(page, "calibration"))
    assert "κ is 1, no stretch, for every label" in text and "The one model on the test part" in text


def test_a_test_part_with_other_shares_of_positives_is_said(rendered: Callable) -> None:
    run, page = rendered(labels=LABELS, n_images=240)
    assert other_shares(run) == [] and "other shares of positives" not in text_of(page)
    truth = run.truth.copy()
    truth[run.test_rows, 1] = 1
    truth[run.test_rows[:3], 1] = 0  # all but one patient
    (found,) = other_shares(replace(run, manifest=replace(run.manifest, truth=truth)))
    known = truth[run.oof_rows, 1]
    assert found.label == "Pneumonia" and found.oof == pytest.approx(known.mean())
    assert found.test.value == pytest.approx(1 - 3 / len(run.test_rows))
