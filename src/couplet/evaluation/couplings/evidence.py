"""Does the coupling do anything? Gain beside calibration alone, permuted sources, revealed truth, agreement, size."""

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
from couplet.settings.schema.refiner import RefinerParams

PERMUTATIONS = 200
HELP, HURT, NO_EFFECT = "help", "hurt", "no effect seen"
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
        above = [one.low is not None and one.low > 0 for one in (self.auc, self.log_loss)]
        below = [one.high is not None and one.high < 0 for one in (self.auc, self.log_loss)]
        return HELP if all(above) else HURT if any(below) and not any(above) else NO_EFFECT


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


# --- what can be won at most, and how far A can be believed -----------------------------------------------------------


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


@dataclass(frozen=True)
class Agreement:
    """How far several matrices (R, L, L) have the same couplings; None where there is nothing to compare.

    Attributes:
        support: cells that are other than 0 in all of them, among those that are in any.
        sign: of the former, those with the same sign everywhere.
    """

    support: float | None
    sign: float | None


def agreement(matrices: np.ndarray, least: float = 0.0) -> Agreement:
    """Compare the off-diagonal cells of fits on different images, for example of two halves of the patients.

    Args:
        matrices: (R, L, L).
        least: up to which |A| counts as nothing (a network that is trained with L1 has no exact zero).

    >>> agreement(np.array([[[0, 1.0], [2.0, 0]], [[0, 1.5], [0, 0]]]))
    Agreement(support=0.5, sign=1.0)
    """
    there = np.abs(matrices) > least
    either, both = there.any(axis=0), there.all(axis=0)
    same = both & ((matrices > 0).all(axis=0) | (matrices < 0).all(axis=0))
    n_either, n_both = int(either.sum()), int(both.sum())
    return Agreement(n_both / n_either if n_either else None, float(same.sum() / n_both) if n_both else None)


def asymmetry(A: np.ndarray) -> float | None:
    """|A - A'| / |A| (Frobenius): 0 where both directions are equal, sqrt(2) where only one is there; None for A = 0.

    >>> asymmetry(np.array([[0.0, 1.0], [1.0, 0.0]])), round(asymmetry(np.array([[0.0, 1.0], [0.0, 0.0]])), 4)
    (0.0, 1.4142)
    """
    size = float(np.linalg.norm(A))
    return float(np.linalg.norm(A - A.T)) / size if size else None


def zeros(A: np.ndarray) -> float | None:
    """Share of exact zeros among the cells off the diagonal; None with one label.

    >>> zeros(np.array([[0.0, 1.0], [0.0, 0.0]]))
    0.5
    """
    off = ~np.eye(len(A), dtype=bool)
    return float((A[off] == 0).mean()) if off.any() else None


def spectral_radius(A: np.ndarray) -> float:
    """Largest |eigenvalue| of |A|: what a message step can amplify at most (times strength and slope of a message).

    >>> round(spectral_radius(np.array([[0.0, 2.0], [-2.0, 0.0]])), 6)
    2.0
    """
    return float(np.abs(np.linalg.eigvals(np.abs(A))).max(initial=0.0))


def strength(refiner: RefinerParams) -> float:
    """The most that a source adds to a logit, per unit of an A that is trained with the network.

    alpha; twice that with a gate, which multiplies what a label says by up to 2. Several steps change nothing: the
    last one is added to the head's own logits.

    >>> strength(RefinerParams(alpha=0.3)), strength(RefinerParams(alpha=0.3, conditional="gate"))
    (0.3, 0.6)
    """
    return abs(refiner.alpha) * (2 if refiner.conditional == "gate" else 1)


def halves(
    truth: np.ndarray, p: np.ndarray, couplings: LabelCouplings, half: np.ndarray, strictness: float
) -> np.ndarray:
    """(2, L, L) A fitted on each half of the patients.

    Args:
        truth, p: (n, L).
        couplings: of all rows; their log odds are used.
        half: (n,) 0 or 1.
        strictness: as of the fit.
    """
    log_odds = couplings.log_odds(p)
    q = expit(log_odds)
    y = filled(truth, q)
    return np.stack(
        [fit(truth[own], log_odds[own], y[own], q[own], strictness).A for own in (half == 0, half == 1)]
    )


def log_odds_ratios(truth: np.ndarray) -> np.ndarray:
    """(L, L) log[(n11 + .5)(n00 + .5) / ((n10 + .5)(n01 + .5))] of each pair's known cells; 0 on the diagonal.

    How labels come together at all, whatever a picture shows: beside A it says how much of that is left to learn.

    >>> log_odds_ratios(np.array([[1, 1], [1, 1], [0, 0], [0, 1]])).round(4).tolist()
    [[0.0, 1.6094], [1.6094, 0.0]]
    """
    one, zero = (truth == 1).astype(np.float64), (truth == 0).astype(np.float64)
    agree = (one.T @ one + 0.5) * (zero.T @ zero + 0.5)
    found = np.log(agree / ((one.T @ zero + 0.5) * (zero.T @ one + 0.5)))
    np.fill_diagonal(found, 0.0)
    return found
