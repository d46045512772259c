"""Label couplings: what is said of the folds' matrices is computed from each of them, never from their mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from couplet.evaluation.estimate import Estimate
from couplet.reporting.gallery import draw
from couplet.reporting.headline import facts
from couplet.reporting.page import render
from couplet.reporting.sections.couplings import largest_shift, strongest_couplings
from couplet.results.run import Run, read_run
from couplet.stages.ensemble_predict import ensemble_predict
from couplet.stages.report import long_couplings
from tests.reporting.sections.conftest import section
from tests.support.pages import text_of

LABELS = ["Edema", "Fracture", "Pneumonia"]
ALPHA = 0.3  # of the phantom preset


@pytest.fixture
def opposed(project: Callable[..., Path]) -> Run:
    """Two folds with A and -A, whose mean is zero, and one entry on which both agree."""
    project(n_images=60, labels=LABELS, folds=2)
    run = read_run()
    first = np.zeros((3, 3))
    first[0, 1], first[2, 1], first[1, 0] = 0.04, 0.02, -0.05
    second = -first
    first[0, 2], second[0, 2] = 0.010, 0.002
    return replace(
        run,
        folds=[
            replace(fold, couplings=matrix) for fold, matrix in zip(run.folds, (first, second), strict=True)
        ],
    )


def test_the_largest_shift_is_that_of_the_fold_that_moves_most(opposed: Run) -> None:
    """Into label 1: 0.04 + 0.02 from both sources in either fold; the mean would say 0."""
    assert opposed.mean_couplings is not None and abs(opposed.mean_couplings[:, 1]).max() == 0
    assert largest_shift(opposed) == pytest.approx(ALPHA * 0.06)


def test_opposite_signs_do_not_add_up_to_a_shift(opposed: Run) -> None:
    """Sources that raise and sources that lower the same logit are bounded apart: all of one side may be present."""
    matrix = np.array([[0, 0.03, 0], [0, 0, 0], [0, -0.05, 0]])
    folds = [replace(fold, couplings=matrix) for fold in opposed.folds]
    assert largest_shift(replace(opposed, folds=folds)) == pytest.approx(ALPHA * 0.05)


def test_the_strongest_couplings_are_those_of_single_folds(opposed: Run) -> None:
    rows = strongest_couplings(opposed)
    assert [(row.source, row.target) for row in rows] == [
        ("Fracture", "Edema"),
        ("Edema", "Fracture"),
        ("Pneumonia", "Fracture"),
        ("Edema", "Pneumonia"),
    ]
    assert [row.mean for row in rows] == pytest.approx([0, 0, 0, 0.006])
    assert [row.largest for row in rows] == pytest.approx([-0.05, 0.04, 0.02, 0.01])
    assert [row.fold for row in rows] == [0, 0, 0, 0]  # the first of equal ones
    assert [row.shift for row in rows] == pytest.approx([ALPHA * a for a in (-0.05, 0.04, 0.02, 0.01)])
    assert [row.same_sign for row in rows] == ["1 of 2", "1 of 2", "1 of 2", "2 of 2"]


def test_the_page_says_it_of_the_folds(opposed: Run) -> None:
    text = text_of(render(opposed, draw(opposed), None))
    assert "The strongest one here, Fracture → Edema with A = −0.0500 in fold 0" in text
    assert "All sources together cannot move any logit of any fold’s model by more than 0.0180" in text
    assert "|A| < 0.001 in 83.3% of the off-diagonal entries of the mean (33.3%, 33.3% in the folds)" in text
    assert "3 of those that are small in the mean are not small in a fold" in text
    fact = next(fact for fact in facts(opposed) if fact.name == "Refiner")
    assert fact.detail.endswith("4 of 6 couplings reach 0.001 in at least one fold")


def test_without_a_coupling_that_is_not_small_the_page_says_that(opposed: Run) -> None:
    folds = [replace(fold, couplings=np.zeros((3, 3))) for fold in opposed.folds]
    run = replace(opposed, folds=folds)
    assert strongest_couplings(run) == [] and largest_shift(run) == 0
    assert "No coupling of any fold reaches 0.001" in text_of(render(run, draw(run), None))


# --- fitted after training ------------------------------------------------------------------------------------------


@pytest.fixture
def fitted(project: Callable[..., Path]) -> Callable[..., Run]:
    """A run whose couplings were fitted out of fold: the stage is run on made-up predictions."""

    def make(strictness: float = 0.5, **options: object) -> Run:
        project(
            n_images=180,
            labels=LABELS,
            changes={"refiner.fit": "out_of_fold", "refiner.strictness": strictness},
            **options,
        )
        ensemble_predict()
        return read_run()

    return make


def test_the_first_sentence_of_fitted_couplings_is_the_verdict(fitted: Callable[..., Run]) -> None:
    run = fitted()
    text = text_of(section_of(run))
    assert text.startswith(
        "Label couplings No effect of the couplings is seen. Against each label’s own calibration"
    )
    gain = run.coupling_gains["oof"]
    assert (
        f"{gain.auc.text(5)} (" in text and f"{gain.log_loss.text(5)} (" in text and "cross-fitted)" in text
    )
    auc, log_loss = gain.auc.value, gain.log_loss.value
    assert auc is not None and log_loss is not None and max(auc, log_loss) < 0  # in this made-up run
    assert f"macro-AUC {-auc:.4f} lower, log loss per image {-log_loss:.4f} higher. They are said" in text
    assert "Cells decided at equal error, gained" in text and gain.coverage.text(4) in text.replace(
        " (cross-fitted)", ""
    )
    assert "both intervals exclude 0; that of macro-AUC and of log loss does not." in text
    assert "Could it be chance?" in text and "What could be won at most." in text
    assert "Whether" not in text and "λ" not in text
    for found, sentence in (("help", "The couplings help."), ("hurt", "The couplings hurt.")):
        told = replace(run, coupling_scores=run.coupling_scores | {"verdict": found})
        assert text_of(section_of(told)).startswith(f"Label couplings {sentence}")


def test_what_is_better_in_one_of_two_is_said_so(fitted: Callable[..., Run]) -> None:
    run = fitted()
    gain = run.coupling_gains["oof"]
    up, down = Estimate(0.01, 0.005, 0.015), Estimate(-0.01, -0.015, -0.005)
    for auc, log_loss, sentence, fact in (
        (
            gain.auc,
            up,
            "The couplings make better probabilities; a better ranking",
            "better in log loss alone",
        ),
        (up, gain.log_loss, "The couplings rank images better; better prob", "better in macro-AUC alone"),
        (down, up, "The couplings gain log loss and lose macro-AUC.", "better in log loss alone"),
    ):
        told = replace(run, coupling_gains={"oof": replace(gain, auc=auc, log_loss=log_loss)})
        assert told.coupling_gains["oof"].verdict == "no effect seen"
        assert text_of(section_of(told)).startswith(f"Label couplings {sentence}")
        found = next(one for one in facts(told) if one.name == "Refiner")
        assert found.detail.endswith(fact)


def test_fitted_couplings_are_shown_as_they_are(fitted: Callable[..., Run]) -> None:
    run = fitted()
    assert run.fitted is not None and run.couplings is not None
    A = run.fitted.fitted.A
    np.testing.assert_array_equal(run.couplings, A[None])
    rows = strongest_couplings(run)
    i, j = np.unravel_index(np.abs(A).argmax(), A.shape)
    assert (rows[0].source, rows[0].target, rows[0].mean) == (LABELS[i], LABELS[j], A[i, j])
    assert rows[0].back == A[j, i] and rows[0].shift == A[i, j] * run.fitted.fitted.kappa[j]
    truth = run.truth[run.oof_rows]
    n = [[((truth[:, i] == a) & (truth[:, j] == b)).sum() + 0.5 for b in (0, 1)] for a in (0, 1)]
    assert rows[0].log_odds_ratio == pytest.approx(np.log(n[1][1] * n[0][0] / n[1][0] / n[0][1]))
    moved = A * run.fitted.fitted.kappa
    assert largest_shift(run) == pytest.approx(
        max(np.clip(moved, 0, None).sum(0).max(), np.clip(-moved, 0, None).sum(0).max())
    )
    table = long_couplings(run)
    assert set(table["fold"]) == {"mean"} and len(table) == 6
    assert table["coupling"].abs().max() == abs(A).max()
    fact = next(fact for fact in facts(run) if fact.name == "Refiner")
    assert fact.value == "out of fold" and fact.detail.endswith("no effect seen")


def test_the_whole_page_is_of_refined_probabilities(fitted: Callable[..., Run]) -> None:
    run = fitted()
    text = text_of(render(run, draw(run), None))
    assert "The couplings, fitted after training, have made probabilities of the network’s outputs" in text
    assert "These probabilities are not calibrated" not in text
    assert (
        "couplings fitted out of fold" in text and "A, fitted out of fold on the labels of all folds" in text
    )


def test_without_any_coupling_the_page_says_that_too(fitted: Callable[..., Run]) -> None:
    run = fitted(strictness=1e6)
    assert strongest_couplings(run) == [] and largest_shift(run) == 0
    text = text_of(section_of(run))
    assert text.startswith("Label couplings No effect of the couplings is seen.")
    assert "no interval: it is the same without any one patient" in text
    assert "Every coupling is exactly 0" in text


def section_of(run: Run) -> str:
    return section(render(run, draw(run), None), "couplings")


def test_the_first_sentence_of_trained_couplings(opposed: Run) -> None:
    """A shift of 0.018 is none; of 3 only a comparison can tell."""
    assert text_of(section_of(opposed)).startswith("Label couplings The couplings have no effect.")
    strong = replace(opposed, folds=[replace(fold, couplings=10 * np.eye(3)[::-1]) for fold in opposed.folds])
    text = text_of(section_of(strong))
    assert text.startswith("Label couplings Whether the couplings help is not known from one run.")
    assert "its sign says nothing of the labels" in text
    assert "macro-AUC out of fold would be 0.012 higher" in text


def test_the_formula_is_what_the_settings_compute(project: Callable[..., Path]) -> None:
    project(
        n_images=60,
        labels=LABELS,
        folds=2,
        changes={
            "refiner.message": "calibrated",
            "refiner.teach": 0.5,
            "refiner.lr_factor": 30.0,
            "refiner.sparsity": "proximal",
            "refiner.steps": 3,
            "refiner.lambda": 0.002,
        },
    )
    run = read_run()
    page = render(run, draw(run), None)
    text = text_of(section(page, "couplings"))
    assert (
        "z (t+1) target = z target + α Σ source m ( z (t) source ) A source, target with α = 0.3, "
        "z (0) = z and z′ = z (3) : messages of messages, m(z) the probability that the loss means by a logit z, "
        "A = 0 at the start, λ = 0.002 as a soft threshold on |A| after each update, the truth in the place of the "
        "messages in 50% of the training images, A learned at 30 times the head’s learning rate" in text
    )
    assert "In training the truth of 50% of the images spoke in the place of" in text
    assert "its sign says nothing of the labels" not in text and "σ(" not in text
    assert "last step (head; the couplings’ is 30 times that)" in text_of(page)
    nothing = replace(run, folds=[replace(fold, couplings=np.zeros((3, 3))) for fold in run.folds])
    assert "0.001: the penalty has kept the refiner" in text_of(section_of(nothing))


def test_the_formula_of_the_first_paper(opposed: Run) -> None:
    text = text_of(section_of(opposed))
    assert (
        "z ′ target = z target + α Σ source σ( z source ) A source, target with α = 0.3, A = 0 at the start, "
        "λ = 0.001 on the sum of |A| How to read" in text
    )
    assert "last step (head and refiner)" in text_of(render(opposed, draw(opposed), None))
