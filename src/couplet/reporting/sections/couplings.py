"""The refiner's label couplings: how to read them, the strongest ones, and whether the folds agree on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from couplet.reporting import analysis
from couplet.reporting.section import Drawn
from couplet.reporting.tables import couplings_of_folds
from couplet.results.run import Run

TITLE = "Label couplings"
STRONGEST = 12  # couplings in the table


class Coupling(NamedTuple):
    """One entry of A over the folds: every fold's model is a refiner of its own, and none has the mean matrix."""

    source: str
    target: str
    mean: float
    folds: list[float]
    largest: float  # the fold's value that is furthest from 0 ...
    fold: int  # ... and that fold
    same_sign: str
    shift: float  # the most that it adds to the target's logit in that fold's model
    correlation: float | None  # of the two labels, in the truth


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """The mean matrix and the folds' strongest entries; without a refiner the section says that it is off."""
    return {
        "matrix": drawn.gallery.couplings,
        "strongest": strongest_couplings(run),
        "largest_shift": largest_shift(run),
        "small": analysis.SMALL,
    }


def strongest_couplings(run: Run) -> list[Coupling]:
    """The STRONGEST couplings by what any single fold has, if that is not small, with what all folds say."""
    folds = couplings_of_folds(run)
    if folds is None:
        return []
    sizes = np.abs(folds)
    rows = []
    for flat in np.argsort(-sizes.max(axis=0), axis=None, kind="stable")[:STRONGEST]:
        i, j = divmod(int(flat), len(run.labels))
        values, k = folds[:, i, j], int(sizes[:, i, j].argmax())
        if i == j or sizes[k, i, j] < analysis.SMALL:
            continue
        same = max(int((values > 0).sum()), int((values < 0).sum()))
        together = analysis.pearson(run.truth[np.ix_(run.oof_rows, np.array([i, j]))])[0, 1]
        rows.append(
            Coupling(
                source=run.labels[i],
                target=run.labels[j],
                mean=float(values.mean()),
                folds=values.tolist(),
                largest=float(values[k]),
                fold=run.folds[k].fold,
                same_sign=f"{same} of {len(folds)}",
                shift=run.params.refiner.alpha * float(values[k]),
                correlation=None if np.isnan(together) else float(together),
            )
        )
    return rows


def largest_shift(run: Run) -> float:
    """The most by which all sources together can move any target's logit, either way, in any fold's model.

    0 without a refiner. The folds' mean would understate it: couplings of opposite sign cancel there and act in
    each model.
    """
    folds = couplings_of_folds(run)
    if folds is None:
        return 0.0
    up, down = np.maximum(folds, 0).sum(axis=1), np.maximum(-folds, 0).sum(axis=1)
    return abs(run.params.refiner.alpha) * float(max(up.max(), down.max()))
