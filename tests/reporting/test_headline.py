"""The facts of the first screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from couplet.project.project import Project
from couplet.reporting.headline import facts
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
