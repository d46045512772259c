"""The first screen: how good, how sure, and whether anything is wrong."""

from __future__ import annotations

from typing import Any

from couplet.reporting.checks import checks
from couplet.reporting.gallery import folds_word
from couplet.reporting.headline import facts
from couplet.reporting.section import Drawn
from couplet.reporting.tables import legend
from couplet.results.run import Run

TITLE = "At a glance"


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """Macro-AUC out of fold and of the test part; the checks and the facts; what differs from the preset."""
    scores = drawn.scores
    oof, test = scores.oof.scores["auc_macro"], scores.test.scores["auc_macro"] if scores.test else None
    found, given = checks(run, drawn.gallery.trust, scores), facts(run)
    shown = [oof, *([test] if test else []), *(one for fact in found for _, one in fact.estimates)]
    return {
        "oof": oof,
        "within": scores.within if len(run.folds) > 1 else None,
        "scales_differ": scores.scales_differ,
        "test": test,
        "folds_word": folds_word(run),
        "checks": found,
        "facts": given,
        "attention": [fact for fact in (*found, *given) if fact.attention],
        "n_facts": len(found) + len(given),
        "legend": legend(shown),
    }
