"""Which labels a figure shows: all of few; of many those that it is about, and a sentence that says so.

Of 1,000 labels a figure with a row for each would be as high as twenty screens, and a table of all pairs in git 200 MB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from couplet.results.run import Run

GRID_LABELS = 24  # above this many labels, grids with a picture or a panel for each ...
GRID_SHOWN = 20  # ... show the most frequent ones
ROW_LABELS = 80  # at most so many rows in a figure, and rows and columns in the correlations
COUPLED_LABELS = 40  # at most so many labels in the coupling matrix, as a figure and in plots/couplings.csv


def grid_labels(run: Run) -> list[int]:
    """Labels of per-label grids: all, or the most frequent ones of many, in the data set's order."""
    return _most_frequent(run, len(run.labels) if len(run.labels) <= GRID_LABELS else GRID_SHOWN)


def row_labels(run: Run) -> list[int]:
    """Labels of figures with a row per label: at most ROW_LABELS, the most frequent, in the data set's order."""
    return _most_frequent(run, ROW_LABELS)


def coupled_labels(run: Run) -> list[int]:
    """At most COUPLED_LABELS, those with the strongest coupling, as source or target, of any fold's model.

    In the data set's order; the first ones without a refiner.
    """
    folds = run.couplings
    if folds is None:
        return list(range(min(len(run.labels), COUPLED_LABELS)))
    largest = np.abs(folds).max(axis=0)
    return highest(np.maximum(largest.max(axis=0), largest.max(axis=1)), COUPLED_LABELS)


def highest(values: np.ndarray, n: int) -> list[int]:
    """Places of the n highest of (L,) values, rising; of equal ones the first.

    >>> highest(np.array([0.5, 0.1, 0.9, 0.5]), 2)
    [0, 2]
    """
    return sorted(int(i) for i in np.argsort(-values, kind="stable")[:n])


def selection_note(run: Run, shown: Sequence[int], which: str = "") -> str:
    """A sentence where labels are left out, otherwise nothing.

    Args:
        run: with all the labels.
        shown: places of those that are shown.
        which: what they have in common; the most frequent ones if nothing is said.
    """
    n, total = len(shown), f"{len(run.labels):,}"
    if n == len(run.labels):
        return ""
    return (
        f" Shown: the {n} of {total} labels {which}."
        if which
        else f" Shown: the {n} most frequent of {total} labels."
    )


def _most_frequent(run: Run, n: int) -> list[int]:
    return highest((run.truth == 1).sum(axis=0), n)
