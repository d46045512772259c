"""Which labels an AUC does not tell from chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from couplet.evaluation.estimate import Estimate
from couplet.evaluation.jackknife import auc_estimates
from couplet.reporting.chance import AgainstChance, against_chance, told
from couplet.reporting.estimates import run_scores
from couplet.reporting.gallery import draw
from couplet.reporting.page import render
from couplet.results.run import read_run
from tests.support.pages import text_of


def test_by_hand() -> None:
    auc = {
        "above": Estimate(0.8, 0.501, 0.9),
        "at its lower end": Estimate(0.8, 0.5, 0.9),
        "within": Estimate(0.52, 0.4, 0.6),
        "at its upper end": Estimate(0.4, 0.3, 0.5),
        "below": Estimate(0.3, 0.2, 0.4),  # the wrong way round, but not by chance
        "unseen": Estimate(None, reason="no positive image"),
        "perfect": Estimate(1.0, reason="no pair is ranked wrongly"),
        "unseen too": Estimate(None, reason="no positive image"),
    }
    found = told(list(auc.values()), list(auc), "out of fold")
    assert found == AgainstChance(
        "out of fold",
        8,
        ["at its lower end", "within", "at its upper end"],
        {"no positive image": ["unseen", "unseen too"], "no pair is ranked wrongly": ["perfect"]},
    )
    assert (found.n_named, found.share) == (6, "6 of 8 labels")
    assert found.sentence == (
        "6 of 8 labels out of fold: at its lower end, within, at its upper end (0.5 is in the interval); "
        "unseen, unseen too (no interval: no positive image); perfect (no interval: no pair is ranked wrongly)."
    )
    assert told([auc["above"]], ["above"], "out of fold").sentence == "0 of 1 label out of fold."


def test_of_many_labels_twenty_are_named() -> None:
    names = [f"Finding {i}" for i in range(23)]
    sentence = told([Estimate(0.5, 0.4, 0.6)] * 23, names, "on the test part").sentence
    assert sentence.endswith(", Finding 18, Finding 19 and 3 more (0.5 is in the interval).")


def test_of_scores_that_know_nothing_about_one_label_in_twenty_is_told() -> None:
    """The interval of an AUC of 0.5 leaves 0.5 out in 5 % of samples, of scores that know something nearly always."""
    rng = np.random.default_rng(0)
    truth = (rng.random((300, 200)) < 0.2).astype(float)
    scores, names, patients = rng.normal(size=truth.shape), [str(i) for i in range(200)], np.arange(300)
    nothing = told(auc_estimates(truth, scores, patients).per_label, names, "out of fold")
    assert 0.90 <= nothing.n_named / 200 <= 0.99
    something = told(auc_estimates(truth, scores + truth, patients).per_label, names, "out of fold")
    assert something.n_named == 0


def test_the_page_names_them_and_its_first_screen_counts_them(project: Callable[..., Path]) -> None:
    project(n_images=240, labels=["Edema", "Fracture", "Pneumonia"])
    run = read_run()
    truth = run.truth.copy()
    truth[:, 2] = 0  # Pneumonia is never seen
    run = replace(run, manifest=replace(run.manifest, truth=truth))
    p = run.oof_probabilities.copy()
    p[:, 0] = 0.9 * np.nan_to_num(truth[run.oof_rows, 0]) + 0.05 * p[:, 0]  # Edema is always ranked rightly
    p[:, 1] = 0.5  # all alike: an AUC of 0.5
    run = replace(run, oof_probabilities=p)
    found, test = against_chance(run_scores(run), run.labels)
    assert found == AgainstChance(
        "out of fold",
        3,
        [],
        {
            "no pair is ranked wrongly": ["Edema"],
            "it is the same without any one patient": ["Fracture"],
            "no positive image": ["Pneumonia"],
        },
    )
    text = text_of(render(run, draw(run), None))
    assert (
        f"Not told from chance. {found.sentence} {test.sentence}"
        in text.split("Label by label, out of fold")[1]
    )
    assert (
        f"Not told from chance 3 of 3 labels out of fold; {test.share} on the test part: 0.5 lies in" in text
    )
