"""Does the coupling do anything? Gain beside calibration alone, permuted sources, revealed truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from couplet.evaluation.comparison import compare
from couplet.evaluation.couplings.abstention import coverage_gain
from couplet.evaluation.couplings.fit import LabelCouplings, filled, fit
from couplet.evaluation.estimate import Estimate
from couplet.evaluation.leave_one_out import leave_one_out_auc
from couplet.evaluation.proportions import mean

PERMUTATIONS = 200
HELP, HURT, NO_EFFECT = "help", "hurt", "no effect seen"
AUC, LOG_LOSS = "macro-AUC", "log loss"  # what both must be better for couplings to help
EDGE = 1e-12  # probabilities nearer to 0 and 1 cost what they do there


@dataclass(frozen=True)
class Gain:
    """Probabilities with couplings against those without, of the same images: above 0 is better with them.

    Attributes:
        auc: of the macro-AUC; out of fold only pairs of the same part count.
        log_loss: per image, summed over its known labels, in nats.
        coverage: share of the cells that are decided at equal error (`abstention`).
    """

    auc: Estimate
    log_loss: Estimate
    coverage: Estimate

    @property
    def verdict(self) -> str:
        """`help` where both intervals lie above 0, `hurt` where one lies below 0 and none above; else no effect."""
        if len(self.better) == 2:
            return HELP
        return HURT if self.worse and not self.better else NO_EFFECT

    @property
    def better(self) -> list[str]:
        """Which of macro-AUC and log loss has its interval above 0."""
        return [name for name, one in self._judged if one.low is not None and one.low > 0]

    @property
    def worse(self) -> list[str]:
        """Which of them has it below 0."""
        return [name for name, one in self._judged if one.high is not None and one.high < 0]

    @property
    def _judged(self) -> list[tuple[str, Estimate]]:
        return [(AUC, self.auc), (LOG_LOSS, self.log_loss)]


def gain(
    truth: np.ndarray,
    with_them: np.ndarray,
    without: np.ndarray,
    patients: np.ndarray,
    parts: np.ndarray | None = None,
    scored: np.ndarray | None = None,
) -> Gain:
    """The paired gain, its interval by patient (`evaluation.comparison`, one repeat).

    Args:
        truth: (n, L) of 0, 1 or NaN.
        with_them, without: (n, L) probabilities; without couplings each label has its own intercept and scale still,
            so that calibration does not pass for coupling.
        patients: (n,) of each image.
        parts: (n,) whose images were refined by the same couplings; None: all of them.
        scored: (L,) labels that the macro-AUC is of; None: all. The log loss is an image's, of all its labels.
    """
    arms = [list(leave_one_out_auc(truth, q, patients, parts)) for q in (with_them, without)]
    auc = compare([arms[0]], [arms[1]], scored=scored).macro.estimate
    log_loss = mean(losses(truth, without) - losses(truth, with_them), patients)
    return Gain(auc, log_loss, coverage_gain(truth, with_them, without, patients))


def losses(truth: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(n,) log loss of each image, summed over its known labels; NaN without any.

    >>> losses(np.array([[1, 0], [np.nan, np.nan]]), np.array([[0.5, 0.5], [0.5, 0.5]])).round(4).tolist()
    [1.3863, nan]
    """
    known = ~np.isnan(truth)
    q = np.clip(q, EDGE, 1 - EDGE)
    cells = -np.where(truth == 1, np.log(q), np.log1p(-q))
    return np.where(known.any(axis=1), np.where(known, cells, 0).sum(axis=1), np.nan)


def auc_difference(truth: np.ndarray, a: np.ndarray, b: np.ndarray, parts: np.ndarray) -> float:
    """Macro-AUC of a less that of b, pairs within parts only; NaN where no label has both classes."""
    patients = np.arange(len(truth))
    values = [[one.value for one in leave_one_out_auc(truth, q, patients, parts)] for q in (a, b)]
    found = np.array(values[0]) - np.array(values[1])
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


# --- permuted sources ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Permuted:
    """What couplings gain in log loss per image when sources are those of other images.

    Attributes:
        observed: with their own.
        gains: of each permutation.
    """

    observed: float
    gains: np.ndarray

    @property
    def p(self) -> float:
        """(1 + #{gain >= observed}) / (1 + permutations)."""
        return float((1 + (self.gains >= self.observed).sum()) / (1 + len(self.gains)))


def permuted(
    truth: np.ndarray,
    p: np.ndarray,
    parts: np.ndarray,
    of_part: dict[int, LabelCouplings],
    strictness: float,
    seed: int,
    times: int = PERMUTATIONS,
) -> Permuted:
    """Fit again with the sources of other images of the same part: all labels of a row together.

    So sources keep how they depend on each other, and lose what they say of the target. Targets, own evidence and
    parts stay; nothing else is different from the fit that is judged.

    Args:
        truth, p, parts: as of `cross_fit`.
        of_part: its couplings.
        strictness: they were fitted with.
        seed: of the permutations.
        times: how many.
    """
    worlds = []
    for part, couplings in of_part.items():
        own = parts == part
        rows, held = (~own, own) if (~own).any() else (own, own)
        log_odds = couplings.log_odds(p)
        q = expit(log_odds)
        worlds.append((rows, held, log_odds, q, filled(truth, q), couplings.fitted))

    def total(order: np.ndarray | None) -> float:
        gained = np.zeros(len(truth))
        for rows, held, log_odds, q, y, fitted in worlds:
            found = fitted
            if order is not None:
                found = fit(
                    truth[rows], log_odds[rows], y[order][rows], q[order][rows], strictness, fitted.alone
                )
            sources = q[held] if order is None else q[order][held]
            gained[held] = losses(truth[held], expit(found.uncoupled(log_odds[held]))) - losses(
                truth[held], expit(found.coupled(log_odds[held], sources))
            )
        return float(np.nanmean(gained))

    random = np.random.default_rng([seed, 13])
    gains = []
    for _ in range(times):
        order = np.arange(len(truth))
        for part in np.unique(parts):
            own = np.flatnonzero(parts == part)
            order[own] = own[random.permutation(len(own))]
        gains.append(total(order))
    return Permuted(total(None), np.array(gains))


# --- what can be won at most -----------------------------------------------------------


def revealed_gain(
    truth: np.ndarray,
    p: np.ndarray,
    parts: np.ndarray,
    of_part: dict[int, LabelCouplings],
    scored: np.ndarray | bool = True,
) -> tuple[float, float]:
    """Gain in AUC and in log loss per image if the truth of all other labels were known: what label dependence beyond
    the picture can give at most. Near 0 no coupling can help on these data. The mean AUC is that of labels `scored`.
    """
    told, alone = np.full(p.shape, np.nan), np.full(p.shape, np.nan)
    for part, couplings in of_part.items():
        own = parts == part
        told[own], alone[own] = couplings.revealed(p[own], truth[own]), couplings.alone(p[own])
    log_loss = float(np.nanmean(losses(truth, alone) - losses(truth, told)))
    return auc_difference(np.where(scored, truth, np.nan), told, alone, parts), log_loss
