"""The first screen: how good, how sure, and whether anything is wrong, with the numbers that it rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from couplet.evaluation.calibration.error import log_losses
from couplet.evaluation.shortcuts import shortcuts as plain_shortcuts
from couplet.reporting.chance import AgainstChance
from couplet.reporting.checks import calibration, chance, checks, leaks, repeats, settings, shortcuts
from couplet.reporting.estimates import run_scores
from couplet.reporting.fact import Fact
from couplet.reporting.gallery import Gallery, draw
from couplet.reporting.headline import facts
from couplet.reporting.page import render
from couplet.results.run import Run, read_run
from tests.support.pages import text_of

LABELS = ["Edema", "Fracture", "Pneumonia"]


@pytest.fixture
def run(project: Callable[..., Path]) -> Run:
    project(n_images=240, labels=LABELS)
    return read_run()


@pytest.fixture
def gallery(run: Run) -> Gallery:
    return draw(run)


def test_the_checks_come_in_their_order(run: Run, gallery: Gallery) -> None:
    names = [fact.name for fact in checks(run, gallery.trust, run_scores(run))]
    assert names == ["Leaks", "Not told from chance", "Calibration", "Settings", "Repeats"]


def test_the_calibration_line_is_of_the_test_part(run: Run, gallery: Gallery) -> None:
    fact = calibration(run, gallery.trust.calibration)
    truth = run.truth[run.test_rows].astype(float)
    (before_words, before), (after_words, after) = fact.estimates
    assert (before_words, after_words) == ("Log loss before", "after")
    for estimate, q in ((before, run.test_probabilities), (after, run.calibrated.test_q)):
        assert estimate.value == pytest.approx(np.nanmean(log_losses(truth, q), axis=0).mean())
        assert estimate.flags == () and estimate.n_patients == 11
    assert before.source[0].path.endswith("/test.csv")
    assert after.source[0].path.endswith("/calibrated.csv")
    assert fact.detail.startswith("on the test part: slope and intercept tested together, corrected for ")


def test_labels_at_chance_are_counted() -> None:
    none = AgainstChance("out of fold", 14, [], {})
    some = AgainstChance("on the test part", 14, ["Edema"], {"no positive image": ["Fracture", "Mass"]})
    assert chance([none, none._replace(part="on the test part")]) == Fact(
        "Not told from chance",
        "0 of 14 labels",
        "out of fold and on the test part: every AUC has a 95% interval, and 0.5 lies in none",
    )
    assert chance([none, some]) == Fact(
        "Not told from chance",
        "0 of 14 labels",
        "out of fold; 3 of 14 labels on the test part: 0.5 lies in the 95% interval of their AUC, or there is none; "
        "named in “Label by label”",
        attention=True,
    )


def test_a_label_that_fails_needs_attention(run: Run, gallery: Gallery) -> None:
    found = gallery.trust.calibration
    part = found.parts[-1]
    for failing, value in ((0, "0 of 3 labels fail"), (1, "1 of 3 labels fails"), (2, "2 of 3 labels fail")):
        changed = replace(part, after=part.after._replace(failing=failing, tested=3))
        fact = calibration(run, replace(found, parts=[found.parts[0], changed]))
        assert (fact.value, fact.attention) == (value, failing > 0)
    nothing = replace(part, after=part.after._replace(failing=0, tested=0))
    fact = calibration(run, replace(found, parts=[found.parts[0], nothing]))
    assert (fact.value, fact.attention) == ("not tested", True)


def test_with_hidden_labels_the_calibration_line_is_out_of_fold(project: Callable[..., Path]) -> None:
    project(n_images=120, labels=LABELS, test_labelled=False)
    run = read_run()
    fact = calibration(run, draw(run).trust.calibration)
    assert fact.detail.startswith(
        "out of fold, cross-fitted; the ensemble’s own is not measured, since the test"
    )
    assert [one.flags for _, one in fact.estimates] == [("selected",), ("selected", "cross-fitted")]


def test_without_a_calibrator_there_is_one_log_loss(project: Callable[..., Path]) -> None:
    project(n_images=120, labels=LABELS, changes={"calibration.method": "none"})
    run = read_run()
    fact = calibration(run, draw(run).trust.calibration)
    assert [words for words, _ in fact.estimates] == ["Log loss"]
    assert "of the networks’ own outputs (`calibration.method: none`)" in fact.detail


def knowing_the_view(run: Run) -> Run:
    """Images with a finding were filmed from the side, most others from the front, and scores are higher there."""
    lateral = (run.truth == 1).any(axis=1) | (np.arange(len(run.truth)) % 3 == 0)
    table = run.manifest.table.assign(view=np.where(lateral, "LATERAL", "AP"))
    raised = 0.5 * run.oof_probabilities + 0.5 * lateral[run.oof_rows, None]
    return replace(run, manifest=replace(run.manifest, table=table), oof_probabilities=raised)


def test_a_shortcut_stands_on_the_first_screen_with_its_numbers(run: Run) -> None:
    run = knowing_the_view(run)
    gallery = draw(run)
    found = shortcuts(gallery.trust.groups)
    view = run.manifest.table["view"].to_numpy(dtype=object)[run.oof_rows]
    expected = plain_shortcuts(
        run.truth[run.oof_rows].astype(float), run.oof_probabilities, view, run.fold_of[run.oof_rows]
    )
    assert len(found) == 1 and found[0].attention and expected.attention()
    pooled, within, alone = expected.macro()
    assert found[0].value == f"view gives {pooled - within:.3f}"
    assert [one.value for _, one in found[0].estimates] == pytest.approx([pooled, within, alone])
    assert [words for words, _ in found[0].estimates][1] == "pairs with the same view"
    assert all(one.flags == ("selected",) and len(one.source) == 3 for _, one in found[0].estimates)
    text = text_of(render(run, gallery, None))
    assert f"Shortcut view gives {pooled - within:.3f} of the macro-AUC out of fold, more than 0.02" in text


def test_what_differs_from_the_preset(project: Callable[..., Path]) -> None:
    project(n_images=60, labels=LABELS, changes={"refiner.enabled": False})
    assert settings(read_run()) == Fact(
        "Settings", "1 differs", "from presets/phantom.yaml: refiner.enabled", attention=True
    )


def test_one_run_says_nothing_about_the_method() -> None:
    fact = repeats()
    assert (fact.value, fact.attention) == ("one run", False)
    assert "at least three repeats of each arm (`train.repeat`)" in fact.detail
    assert fact.detail.endswith("`couplet compare`")


def test_leaks_are_those_of_the_record(run: Run) -> None:
    assert leaks(run) == Fact(
        "Leaks", "none found", "no patient and no picture is in two parts, and every model is of this split"
    )
    split = replace(run.split, pictures_in_two_folds=1, n_patients=None)
    other = replace(run, leaks=replace(run.leaks, split=split, by_patient=False))
    fact = leaks(other)
    assert (fact.value, fact.attention) == ("not known", True)
    assert fact.detail.endswith("the numbers may be too good (`split.group_by`)")


def test_what_needs_attention_is_counted_and_named(run: Run, gallery: Gallery) -> None:
    """The fixture has two quarantined images, two batches that were not finite, and may have labels that fail."""
    lines = [*checks(run, gallery.trust, run_scores(run)), *facts(run)]
    names = [fact.name.lower() for fact in lines if fact.attention]
    assert len(lines) == 11 and {"quarantined images", "non-finite batches"} <= set(names)
    text = text_of(render(run, gallery, None)).split("Is anything wrong?")[1]
    assert text.startswith(f" {len(names)} of 11 checks need attention: {', '.join(names)}. ")
    assert (
        "Out of fold judges one fold’s model, the test part the ensemble: their difference means nothing"
        in text
    )
