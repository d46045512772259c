"""How many cells stand in the list where model and label disagree most, and how to open it; no names of images."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from couplet.reporting.parts import labels_shown
from couplet.reporting.section import Drawn
from couplet.reporting.selection import selection_note
from couplet.results.run import Run

TITLE = "Where model and label disagree"


class Listed(NamedTuple):
    """One label's cells in the list."""

    label: str
    n: int
    present: int  # given as present
    absent: int
    other_in_study: int  # another image of the same study is given the other class


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """Counts per label."""
    shown = labels_shown(run)
    counts = listed(run.calibrated.suspicious, run.labels)
    return {
        "listed": [counts[i] for i in shown],
        "total": sum(one.n for one in counts),
        "path": (run.manifest.project.ensemble / "suspicious.csv")
        .relative_to(run.manifest.project.root)
        .as_posix(),
        "note": selection_note(run, shown),
    }


def listed(table: pd.DataFrame, labels: list[str]) -> list[Listed]:
    """The counts of each label, in the data set's order; a label that is not listed has 0."""
    given, other = (pd.to_numeric(table[name]) for name in ("given", "other_in_study"))
    flags = pd.DataFrame({"n": 1, "present": given == 1, "absent": given == 0, "other_in_study": other == 1})
    counts = flags.groupby(table["label"].astype(str)).sum().reindex(labels, fill_value=0).astype(int)
    return [Listed(*row) for row in counts.itertuples(name=None)]
