"""Label couplings: what is said of the folds' matrices is computed from each of them, never from their mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from couplet.reporting.gallery import draw
from couplet.reporting.headline import facts
from couplet.reporting.page import render
from couplet.reporting.sections.couplings import largest_shift, strongest_couplings
from couplet.results.run import Run, read_run
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
