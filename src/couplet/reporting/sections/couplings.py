"""The refiner's label couplings: how to read them, the strongest ones, and whether the folds agree on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from couplet.reporting import analysis
from couplet.reporting.section import Drawn
from couplet.results.run import Run

TITLE = "Label couplings"
STRONGEST = 12  # couplings in the table


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """The mean matrix and its strongest entries; without a refiner the section says that it is off."""
    return {
        "matrix": drawn.gallery.couplings,
        "strongest": strongest_couplings(run),
        "largest_shift": largest_shift(run),
        "small": analysis.SMALL,
    }


def strongest_couplings(run: Run) -> list[dict[str, Any]]:
    """The STRONGEST mean couplings that are not small, with what the single folds say."""
    mean = run.mean_couplings
    if mean is None:
        return []
    folds = np.stack([fold.couplings for fold in run.folds if fold.couplings is not None])
    together = analysis.pearson(run.truth[run.oof_rows])
    rows = []
    for flat in np.argsort(-np.abs(mean), axis=None, kind="stable")[:STRONGEST]:
        i, j = divmod(int(flat), len(run.labels))
        if i != j and abs(mean[i, j]) >= analysis.SMALL:
            same = int((np.sign(folds[:, i, j]) == np.sign(mean[i, j])).sum())
            rows.append(
                {
                    "source": run.labels[i],
                    "target": run.labels[j],
                    "mean": float(mean[i, j]),
                    "folds": [float(value) for value in folds[:, i, j]],
                    "same_sign": f"{same} of {len(folds)}",
                    "shift": run.params.refiner.alpha * float(mean[i, j]),
                    "correlation": None if np.isnan(together[i, j]) else float(together[i, j]),
                }
            )
    return rows


def largest_shift(run: Run) -> float:
    """The most by which all sources together can move any target's logit, either way; 0 without a refiner."""
    mean = run.mean_couplings
    if mean is None:
        return 0.0
    up, down = np.maximum(mean, 0).sum(axis=0), np.maximum(-mean, 0).sum(axis=0)
    return abs(run.params.refiner.alpha) * float(max(up.max(), down.max()))
