"""Scores: what is said of calibration follows from the loss's settings, and left-out labels are named."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from couplet.evaluation.metrics import all_scores
from couplet.evaluation.threshold_scores import threshold_estimates
from couplet.reporting.estimates import SCORES, RunScores, run_scores
from couplet.reporting.gallery import draw
from couplet.reporting.headline import facts
from couplet.reporting.page import render
from couplet.reporting.section import Drawn
from couplet.reporting.sections import scores
from couplet.results.run import Run, read_run
from tests.support.pages import text_of


@pytest.fixture
def run(project: Callable[..., Path]) -> Run:
    project(n_images=180, labels=["Edema", "Fracture", "Pneumonia"])
    return read_run()


@pytest.fixture
def found(run: Run) -> RunScores:
    return run_scores(run)


def asl(gamma_pos: float, gamma_neg: float, clip: float) -> dict[str, Any]:
    return {"loss.args": {"gamma_pos": gamma_pos, "gamma_neg": gamma_neg, "clip": clip}}


BCE = {"loss.name": "bce", "loss.args": {"pos_weight": False}}
WEIGHTED = {"loss.name": "bce", "loss.args": {"pos_weight": True}}


def said_of_outputs(page: str) -> str:
    """The page up to the section on calibration, without the numbers that were estimated."""
    before = page[: page.index('<section id="calibration">')]
    return text_of(re.sub(r'<(\w+) class="estimate".*?</\1>', " ", before, flags=re.DOTALL))


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
    page = render(run, draw(run), None)
    text = text_of(page)
    assert f"These probabilities are not calibrated. The loss of this run ({words})" in text
    assert f"at 2% prevalence its no-information output, for an image that says nothing, is {output}" in text
    assert "No-infor- mation output" in text and "Orange triangle" in text
    if "0.36" not in output:
        assert "0.36" not in said_of_outputs(page)


@pytest.mark.parametrize("changes", [BCE, asl(0.0, 0.0, 0.0)])
def test_a_proper_loss_is_not_called_uncalibrated(
    project: Callable[..., Path], changes: dict[str, Any]
) -> None:
    """asl with (0, 0, 0) is cross-entropy: its minimiser is the risk itself."""
    project(n_images=60, labels=["Edema", "Fracture"], changes=changes)
    run = read_run()
    page = render(run, draw(run), None)
    text = said_of_outputs(page)
    assert "not calibrated" not in text and "0.36" not in text
    assert "No-infor-" not in text_of(page) and "Orange triangle" not in text_of(page)


def test_every_score_is_that_of_the_metrics_files(run: Run) -> None:
    """The page computes them with their intervals, the stages without: the same to the four digits of the files."""
    found = run_scores(run)
    parts = [(fold.rows, fold.probabilities) for fold in run.folds]
    parts += [(run.oof_rows, run.oof_probabilities), (run.test_rows, run.test_probabilities)]
    assert [row.name for row in found.rows] == ["Fold 0", "Fold 1", "Fold 2", "All folds", "Test part"]
    for row, (rows, probabilities) in zip(found.rows, parts, strict=True):
        written = all_scores(run.truth[rows], probabilities, run.labels)
        assert row.n_images == written["n_images"]
        assert list(row.scores) == list(SCORES)
        for key, estimate in row.scores.items():
            assert estimate.value == pytest.approx(written[key], abs=5.1e-5), (row.name, key)
        for key, estimate in row.top3.items():
            assert estimate.value == pytest.approx(written["top3"][key], abs=5.1e-5), (row.name, key)


def test_every_score_names_its_files_and_its_flags(run: Run) -> None:
    found = run_scores(run)
    folds = [f"data/predictions/folds/fold_{k}.csv" for k in range(3)]
    files = [*([one] for one in folds), folds, ["data/predictions/ensemble/test.csv"]]
    for row, paths in zip(found.rows, files, strict=True):
        for estimate in (*row.scores.values(), *row.top3.values(), *row.auc, *row.average_precision):
            assert [source.path for source in estimate.source] == paths
            for source in estimate.source:
                content = Path(source.path).read_bytes()
                assert source.md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()
            assert ("selected" in estimate.flags) == (row.name != "Test part")
    assert found.within.flags == ("selected",) and len(found.within.source) == 3


def test_a_leak_is_on_every_number_of_its_part(run: Run) -> None:
    split = replace(run.split, pictures_in_train_and_test=2)
    found = run_scores(replace(run, split=split, leaks=replace(run.leaks, split=split)))
    assert found.test is not None
    assert all("leak" in one.flags for one in (*found.test.scores.values(), *found.test.auc))
    assert not any("leak" in one.flags for one in found.oof.scores.values())


def test_within_folds_only_pairs_of_the_same_fold_count(run: Run) -> None:
    """sum_k m_k n_k AUC_k / sum_k m_k n_k, by loops."""
    found = run_scores(run)
    expected = []
    for i, label in enumerate(run.labels):
        won = pairs = 0.0
        for fold in run.folds:
            truth, p = run.truth[fold.rows, i], fold.probabilities[:, i]
            for high in p[truth == 1]:
                for low in p[truth == 0]:
                    won, pairs = won + (high > low) + 0.5 * (high == low), pairs + 1
        assert found.within_auc[i].value == pytest.approx(won / pairs), label
        expected.append(won / pairs)
    assert found.within.value == pytest.approx(np.mean(expected))


def test_folds_on_different_scales_are_flagged(run: Run) -> None:
    """Raising one fold's scores changes no pair within it, and every pair with another fold."""
    assert not run_scores(run).scales_differ
    moved = run.oof_probabilities.copy()
    own = np.isin(run.oof_rows, run.folds[1].rows)
    moved[own] = 0.5 + moved[own] / 2
    other = replace(run, oof_probabilities=moved)
    found, before = run_scores(other), run_scores(run)
    assert found.within.value == pytest.approx(before.within.value)
    assert found.oof.scores["auc_macro"].value < before.oof.scores["auc_macro"].value - 0.05  # type: ignore[operator]
    assert found.scales_differ and found.scales_differ_in[:2] == [True, True]
    text = text_of(render(other, draw(run), None))
    assert "The two are more than one standard error apart: the folds’ models are on different scales" in text
    assert "scales differ" in text.split("Label by label, out of fold")[1]
    assert "The two are less than one standard error apart" in text_of(render(run, draw(run), None))


def test_one_fold_has_nothing_to_compare_scales_with(project: Callable[..., Path]) -> None:
    project(n_images=90, folds=1, labels=["Edema", "Fracture"], changes={"split.holdout": 0.2})
    run = read_run()
    found = run_scores(run)
    assert [row.name for row in found.rows] == ["Fold 0", "Test part"]
    assert found.within.value == found.oof.scores["auc_macro"].value and not found.scales_differ
    text = text_of(render(run, draw(run), None))
    assert "Pooled and within folds" not in text and "Within folds" not in text


def test_the_page_says_what_the_intervals_are_not_of(run: Run, found: RunScores) -> None:
    text = text_of(render(run, draw(run), None)).split("Scores Each fold on its own images")[1]
    assert (
        "They do not contain the luck of training: they are conditional on 3 models that share training"
        in text
    )
    assert (
        "Out of fold judges one fold’s model, the test part the ensemble of all: never subtract one" in text
    )
    assert "selected the epoch was chosen on these images." in text
    given = scores.content(run, Drawn(draw(run), None, found))
    assert dict(given["legend"])["selected"] == "the epoch was chosen on these images"


def test_a_null_is_explained_by_what_its_score_needs() -> None:
    nothing = threshold_estimates(np.zeros((4, 2)), np.full((4, 2), 0.7), np.arange(4))
    assert nothing["cp"].text() == "undefined, no interval: no label has both classes here"
    assert nothing["op"].text() == "undefined, no interval: no label has a positive here"


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
        "l0, l1, l2, l3, l4, l5, l6; no AUC (one class only), left out of every mean: l5; one class only in at least one fold: l4; "
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
    left_out = fact.detail.partition("; ")[2]
    assert np.count_nonzero([name in left_out for name in skipped]) == 10
