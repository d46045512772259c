"""The facts of the first screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from couplet.evaluation.jackknife import auc_estimates, average_precision_estimates
from couplet.project.project import Project
from couplet.reporting.estimates import run_scores
from couplet.reporting.headline import facts
from couplet.reporting.judge_groups import judge_groups
from couplet.reporting.parts import parts_of
from couplet.results.run import read_run


def test_the_first_screen_names_the_labels(project: Callable[..., Project]) -> None:
    """A column that was taken for a label by mistake must be seen."""
    project()
    run = read_run()
    fact = next(fact for fact in facts(run) if fact.name == "Labels")
    assert fact.detail.startswith(", ".join(run.labels[:20]))
    many = replace(run, manifest=replace(run.manifest, labels=[f"Finding {i}" for i in range(30)]))
    fact = next(fact for fact in facts(many) if fact.name == "Labels")
    assert "Finding 19 and 10 more, below" in fact.detail and "Finding 20" not in fact.detail


def test_labels_that_are_not_scored_are_said_and_in_no_mean(project: Callable[..., Path]) -> None:
    """Their own rows stay; the macro-AUC, its interval and the shortcuts' are of the others."""
    project()
    plain = read_run()
    of_all = run_scores(plain)
    unscored = [plain.labels[0], plain.labels[2]]
    project(changes={"inference.unscored": unscored})
    run = read_run()
    said = next(fact for fact in facts(run) if fact.name == "Labels")
    assert f"trained, but left out of every mean (inference.unscored): {', '.join(unscored)}" in said.detail
    n = len(run.labels)
    assert said.value == f"{n - 2 - len(plain.ensemble['oof']['labels_skipped'])} of {n} scored"
    found = run_scores(run)
    assert found.oof.auc == of_all.oof.auc and found.oof.average_precision == of_all.oof.average_precision
    kept = [i for i, name in enumerate(run.labels) if name not in unscored]
    rows = run.oof_rows
    for key, estimates in (("auc_macro", auc_estimates), ("map", average_precision_estimates)):
        expected = estimates(
            run.truth[rows][:, kept], run.oof_probabilities[:, kept], run.patients[rows]
        ).macro
        got = found.oof.scores[key]
        assert (got.value, got.low, got.high) == (expected.value, expected.low, expected.high)
        assert got.value != of_all.oof.scores[key].value
    judged = judge_groups(run, parts_of(run))
    for row, before in zip(judged.shortcuts, judge_groups(plain, parts_of(plain)).shortcuts, strict=True):
        own = [one.value for one in row.pooled.per_label]
        whole = [i for i in range(n) if run.scored[judged.shown[i]] and own[i] is not None]
        assert row.pooled.macro.value == pytest.approx(np.mean([own[i] for i in whole]))
        assert row.pooled.per_label == before.pooled.per_label
