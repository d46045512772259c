"""How often the folds' models say the same on the test part: agreement and Cohen's kappa with intervals by patient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from couplet.evaluation.estimate import LEVEL, Estimate, source_of
from couplet.evaluation.jackknife import METHOD, on_logit_scale
from couplet.evaluation.leave_one_out import influence
from couplet.evaluation.metrics import THRESHOLD
from couplet.evaluation.ordering import codes
from couplet.evaluation.proportions import proportion
from couplet.results.run import Run

SAME_ANSWER = "both always give the same single answer"


class Pair(NamedTuple):
    """Two folds: the share of cells in which they say the same, and Cohen's kappa."""

    one: int
    other: int
    agreement: Estimate
    kappa: Estimate


def pairs(run: Run) -> list[Pair]:
    """Every pair of folds."""
    patients, said = run.patients[run.test_rows], run.test_by_fold >= THRESHOLD
    rows = []
    for i in range(len(run.folds)):
        for j in range(i + 1, len(run.folds)):
            folds = [run.folds[i].fold, run.folds[j].fold]
            same = proportion((said[i] == said[j]).mean(axis=1), patients, cells=said.shape[2])
            kappa = kappa_estimate(said[i], said[j], patients)
            rows.append(Pair(folds[0], folds[1], of_folds(run, same, folds), of_folds(run, kappa, folds)))
    return rows


def of_folds(run: Run, estimate: Estimate, folds: list[int]) -> Estimate:
    """With the flags of the test part, and these folds' predictions of it as source."""
    project = run.manifest.project
    sources = (source_of(project.test_predictions(fold), project.root) for fold in folds)
    return replace(estimate, flags=run.leaks.flags_of("test")).of(*sources)


def kappa_estimate(
    one: np.ndarray, other: np.ndarray, patients: np.ndarray, level: float = LEVEL
) -> Estimate:
    """Agreement of two models beyond what chance alone gives, over all image x label cells.

    (a - c) / (1 - c), with a the share of cells in which they say the same and c = p p' + (1 - p)(1 - p') for their
    shares p, p' of yes. The jackknife leaves out one patient at a time, on the logit scale of (1 + kappa) / 2.

    Args:
        one, other: (N, L) True where a model says yes.
        patients: (N,) patient of each image.
        level: coverage.

    Returns:
        An estimate in [-1, 1]; without a value where both always give one and the same answer, and without an interval
        where they would without one patient.

    >>> one, other = np.array([[1, 0], [1, 1], [0, 0]]) > 0, np.array([[1, 0], [0, 1], [0, 0]]) > 0
    >>> round(kappa_estimate(one, other, np.arange(3)).value, 4)
    0.6667
    """
    group = codes(patients)
    n_patients = int(group.max(initial=-1)) + 1
    about: dict[str, Any] = {"level": level, "method": METHOD, "n_images": len(one), "n_patients": n_patients}
    # Of each patient: cells, cells in which both say the same, and each one's yes.
    sums = np.stack(
        [
            np.bincount(group, cells, n_patients)
            for cells in (
                np.full(len(one), one.shape[1]),
                (one == other).sum(axis=1),
                one.sum(axis=1),
                other.sum(axis=1),
            )
        ]
    )
    value = _kappa(sums.sum(axis=1))
    without = _kappa(sums.sum(axis=1, keepdims=True) - sums)
    if np.isnan(value):
        return Estimate(None, reason=SAME_ANSWER, **about)
    if n_patients < 2 or np.isnan(without).any():
        return Estimate(float(value), reason="one patient has all other answers", **about)
    if abs(value) == 1:
        return Estimate(
            float(value), reason=f"the two {'never dis' if value > 0 else 'never '}agree", **about
        )
    variance = float((influence(without, np.ones(n_patients, bool)) ** 2).sum())
    half = on_logit_scale(float((1 + value) / 2), variance / 4, n_patients - 1, about)
    if half.low is None or half.high is None:
        return replace(half, value=float(value))
    return replace(half, value=float(value), low=2 * half.low - 1, high=2 * half.high - 1)


def _kappa(sums: np.ndarray) -> np.ndarray:
    """Kappa of (4, ...) sums; NaN where chance alone explains everything."""
    cells = np.maximum(sums[0], 1)
    same, one, other = sums[1:] / cells
    chance = one * other + (1 - one) * (1 - other)
    defined = (sums[0] > 0) & (chance < 1)
    return np.where(defined, (same - chance) / np.where(defined, 1 - chance, 1), np.nan)
