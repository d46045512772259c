"""How far matrices of couplings agree, how large they are, and what labels come together at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from couplet.evaluation.couplings.fit import LabelCouplings, filled, fit
from couplet.settings.schema.refiner import RefinerParams


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
