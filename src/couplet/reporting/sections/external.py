"""The external test: a data set that the models have never seen, beside the test part over the same labels."""

from __future__ import annotations

from typing import Any

from couplet.reporting.section import Drawn
from couplet.reporting.tables import legend
from couplet.results.run import Run

TITLE = "External test"


def content(run: Run, drawn: Drawn) -> dict[str, Any] | None:
    """Means, a row per shared label, what a change of prevalence explains; None without an external test."""
    found = drawn.gallery.trust.external
    if found is None:
        return None
    shown = [one for row in found.rows for one in (*row.external, *row.moved) if not isinstance(one, float)]
    return {
        "test": found,
        "rule": run.params.decision.rule,
        "alpha": run.params.decision.alpha,
        "hidden": not run.test_labelled,
        "legend": legend(shown),
    }
