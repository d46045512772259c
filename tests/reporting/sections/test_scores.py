"""Scores: what is said of calibration follows from the loss's settings, and left-out labels are named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from couplet.reporting.gallery import draw
from couplet.reporting.headline import facts
from couplet.reporting.page import render
from couplet.reporting.tables import Score, score
from couplet.results.run import read_run
from tests.support.pages import text_of


def asl(gamma_pos: float, gamma_neg: float, clip: float) -> dict[str, Any]:
    return {"loss.args": {"gamma_pos": gamma_pos, "gamma_neg": gamma_neg, "clip": clip}}


BCE = {"loss.name": "bce", "loss.args": {"pos_weight": False}}
WEIGHTED = {"loss.name": "bce", "loss.args": {"pos_weight": True}}


def before_the_papers(text: str) -> str:
    """The page up to what the papers leave open, whose title the navigation has too."""
    contents, before, _ = text.split("What the papers leave open")
    return contents + before


@pytest.mark.parametrize(
    ("changes", "words", "output"),
    [
        (asl(0.0, 4.0, 0.05), "asl, gamma_pos 0, gamma_neg 4, clip 0.05", "0.36 and not 0.02"),
        (asl(2.0, 2.0, 0.0), "asl, gamma_pos 2, gamma_neg 2, clip 0", "0.19 and not 0.02"),
        (asl(0.0, 0.0, 0.05), "asl, gamma_pos 0, gamma_neg 0, clip 0.05", "0.05 and not 0.02"),
        (WEIGHTED, "bce, pos_weight true", "0.17 and not 0.02"),
        ({**BCE, "loss.smoothing": 0.1}, "bce, pos_weight false, smoothing 0.1", "0.068 and not 0.02"),
    ],
)
def test_the_output_of_this_loss_is_on_the_page(
    project: Callable[..., Path], changes: dict[str, Any], words: str, output: str
) -> None:
    project(n_images=60, labels=["Edema", "Fracture"], changes=changes)
    run = read_run()
    text = text_of(render(run, draw(run), None))
    assert f"These probabilities are not calibrated. The loss of this run ({words})" in text
    assert f"at 2% prevalence its no-information output, for an image that says nothing, is {output}" in text
    assert "No-infor- mation output" in text and "Orange triangle" in text
    if "0.36" not in output:
        assert "0.36" not in before_the_papers(text)


@pytest.mark.parametrize("changes", [BCE, asl(0.0, 0.0, 0.0)])
def test_a_proper_loss_is_not_called_uncalibrated(
    project: Callable[..., Path], changes: dict[str, Any]
) -> None:
    """asl with (0, 0, 0) is cross-entropy: its minimiser is the risk itself."""
    project(n_images=60, labels=["Edema", "Fracture"], changes=changes)
    run = read_run()
    text = before_the_papers(text_of(render(run, draw(run), None)))
    assert "not calibrated" not in text and "0.36" not in text
    assert "No-infor-" not in text and "Orange triangle" not in text


def test_a_null_is_explained_by_what_its_score_needs() -> None:
    nothing = {"op": None, "or": 0.5, "cp": None, "map": None}
    assert score(nothing, "cp") == Score(None, "no label has both classes here")
    assert score(nothing, "map") == Score(None, "no label has both classes here")
    assert score(nothing, "op") == Score(None, "no label has a positive here")
    assert score(nothing, "or") == Score(0.5)


def test_labels_left_out_are_named_for_every_part(project: Callable[..., Path]) -> None:
    """Label 5 never has a positive; others lack a class in a fold or in the test part only."""
    project(n_images=90, labels=[f"l{i}" for i in range(7)])
    run = read_run()
    ensemble = {part: {**scores, "labels_skipped": ["l5"]} for part, scores in run.ensemble.items()}
    ensemble["test"]["labels_skipped"] = ["l2", "l5"]
    folds = [replace(fold, metrics={**fold.metrics, "labels_skipped": ["l5"]}) for fold in run.folds]
    folds[1].metrics["labels_skipped"] = ["l4", "l5"]
    run = replace(run, ensemble=ensemble, folds=folds)
    fact = next(fact for fact in facts(run) if fact.name == "Labels")
    assert fact.value == "6 of 7 scored"
    assert fact.detail == (
        "no AUC (one class only), left out of every mean: l5; one class only in at least one fold: l4; "
        "one class only in the test part: l2"
    )
    text = text_of(render(run, draw(run), None))
    assert (
        "A label whose known images are all positive or all negative is left out of AUC, mAP, CP, CR" in text
    )
    assert "OP, OR and OF1 count every known cell, theirs too" in text


def test_many_left_out_labels_are_counted(project: Callable[..., Path]) -> None:
    project(n_images=60, labels=[f"l{i:02d}" for i in range(30)])
    run = read_run()
    skipped = [f"l{i:02d}" for i in range(15)]
    ensemble = {part: {**scores, "labels_skipped": skipped} for part, scores in run.ensemble.items()}
    folds = [replace(fold, metrics={**fold.metrics, "labels_skipped": skipped}) for fold in run.folds]
    fact = next(fact for fact in facts(replace(run, ensemble=ensemble, folds=folds)) if fact.name == "Labels")
    assert fact.detail.endswith("l08, l09 and 5 more, below")
    assert np.count_nonzero([name in fact.detail for name in skipped]) == 10
