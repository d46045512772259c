"""Label couplings fitted after training, on predictions of models that have not seen the image.

Two convex fits per target. On the truth of the other labels, which makes A mean something (pseudo-likelihood, Besag
1975), with a penalty of some standard errors of the gradient, so that what is not there is exactly 0:

    minimise  mean of BCE(b_j + s_j l_j + sum_i y_i A_ij ; y_j)
              + lambda_j sum_i sd(y_i) |A_ij| + (s_j - 1)^2 / (2 n 0.5^2)
    lambda_j = strictness * sqrt(pi_j (1 - pi_j) / n)

and, A held, on what is known of an image in use, the probabilities of the other labels:

    logit_j = b_j + s_j l_j + kappa_j sum_i q_i A_ij,   priors s_j, kappa_j ~ N(1, 0.5^2), both at least 0

l are log odds and q probabilities by the loss's inverse. All of it is our own reading; it is in neither paper.
n images, L labels; rows of A are sources, columns targets. Unknown cells (NaN) are no targets, and as sources count q.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from couplet.evaluation.calibration.beta import BetaMap, nine_digits
from couplet.evaluation.calibration.inverse import LossPosterior, priors_of
from couplet.evaluation.calibration.logistic import fit_logistic
from couplet.evaluation.couplings.lasso import l1_logistic
from couplet.evaluation.prevalence import prevalences

PRECISION = 4.0  # of the priors of scale and kappa: standard deviation 1/2 around 1
TOLERANCE = 1e-6  # of the optimality conditions, in units of the penalty at strictness 1


@dataclass(frozen=True)
class Line:
    """Of each label b (L,) and s (L,): log odds b_j + s_j l_j + what the couplings add."""

    intercept: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """The numbers of a fit, in the digits that are written.

    Attributes:
        A: (L, L), zero diagonal; exactly 0 where nothing was found.
        line: b and s beside the probabilities of other labels.
        kappa: (L,) what A is multiplied by there; 1 for a target that nothing is coupled to.
        on_truth: b and s beside the truth of the other labels.
        alone: b and s without couplings: what calibration alone gives.
        residual: (L,) largest violation of the first fit's optimality conditions, in units of its penalty.
    """

    A: np.ndarray
    line: Line
    kappa: np.ndarray
    on_truth: Line
    alone: Line
    residual: np.ndarray

    def coupled(self, log_odds: np.ndarray, sources: np.ndarray) -> np.ndarray:
        """(n, L) refined log odds from own ones and the other labels' probabilities (or truth, where it is known)."""
        return self.line.intercept + self.line.scale * log_odds + self.kappa * (sources @ self.A)

    def uncoupled(self, log_odds: np.ndarray) -> np.ndarray:
        """(n, L) log odds with own intercept and scale only."""
        return self.alone.intercept + self.alone.scale * log_odds

    def revealed(self, log_odds: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """(n, L) log odds of each label if the truth of all others were known: the most that couplings can give."""
        return self.on_truth.intercept + self.on_truth.scale * log_odds + truth @ self.A


@dataclass(frozen=True)
class LabelCouplings:
    """A fit, and what it makes of a network's outputs.

    Attributes:
        links: of L labels, outputs to log odds: the loss's inverse as calibration has it, finite everywhere.
        fitted: on these log odds.
    """

    links: list[BetaMap]
    fitted: Fitted

    def log_odds(self, p: np.ndarray) -> np.ndarray:
        """l: what outputs (..., L) mean by the loss alone."""
        return log_odds_of(self.links, p)

    def refined(self, p: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """Refined probabilities (..., L) of one model's outputs.

        Args:
            p: (..., L) outputs in [0, 1].
            known: (L,), or as p, of 1, 0 or NaN: a label that is known is a source as it is known, and comes back so.
        """
        own = self.log_odds(p)
        if known is None:
            return np.asarray(expit(self.fitted.coupled(own, expit(own))))
        return filled(known, expit(self.fitted.coupled(own, filled(known, expit(own)))))

    def alone(self, p: np.ndarray) -> np.ndarray:
        """The same without couplings."""
        return np.asarray(expit(self.fitted.uncoupled(self.log_odds(p))))

    def revealed(self, p: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Probabilities of each label, given the truth of all others (unknown ones by their probability)."""
        own = self.log_odds(p)
        return np.asarray(expit(self.fitted.revealed(own, filled(truth, expit(own)))))


def fit_label_couplings(
    truth: np.ndarray, p: np.ndarray, posterior: LossPosterior, strictness: float
) -> LabelCouplings:
    """Fit on outputs of models that have not seen the images.

    Args:
        truth: (n, L) of 0, 1 or NaN.
        p: (n, L) outputs in [0, 1].
        posterior: the loss's inverse (`calibration.inverse.posterior_of`).
        strictness: the penalty in standard errors of the gradient at A = 0, above 0.
    """
    links = links_of(truth, posterior)
    own = log_odds_of(links, p)
    return LabelCouplings(links, fit(truth, own, filled(truth, expit(own)), expit(own), strictness))


def links_of(truth: np.ndarray, posterior: LossPosterior) -> list[BetaMap]:
    """Of each label the loss's inverse as a beta map; truth is asked for its prevalence only."""
    return [prior.rounded() for prior in priors_of(posterior, prevalences(truth))]


def log_odds_of(links: Sequence[BetaMap], p: np.ndarray) -> np.ndarray:
    """Log odds (..., L) of outputs (..., L)."""
    return np.stack([link.logit(p[..., j]) for j, link in enumerate(links)], axis=-1)


def filled(truth: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The truth (n, L), with probabilities where it is not known."""
    return np.where(np.isnan(truth), q, truth)


def fit(
    truth: np.ndarray,
    log_odds: np.ndarray,
    sources: np.ndarray,
    probabilities: np.ndarray,
    strictness: float,
    alone: Line | None = None,
) -> Fitted:
    """Both fits, of all targets.

    Args:
        truth: (n, L) of the targets.
        log_odds: (n, L) l.
        sources: (n, L) y of the other labels; q where unknown.
        probabilities: (n, L) q of the other labels.
        strictness: as of `fit_label_couplings`.
        alone: the fit without couplings of these targets and log odds, where it is known already.

    Returns:
        A target without both classes keeps b = 0, s = 1 and no coupling.
    """
    n_labels = truth.shape[1]
    A, residual, kappa = np.zeros((n_labels, n_labels)), np.zeros(n_labels), np.ones(n_labels)
    alone = fit_alone(truth, log_odds) if alone is None else alone
    on_truth, line = (Line(alone.intercept.copy(), alone.scale.copy()) for _ in range(2))
    standard = _Standardised(sources)
    for j in range(n_labels):
        known = ~np.isnan(truth[:, j])
        y, own = truth[known, j], log_odds[known, j]
        if not 0 < y.sum() < len(y):
            continue
        error = float(np.sqrt(y.mean() * (1 - y.mean()) / len(y)))
        columns, spread = standard.rows(known)
        columns[j] = 0
        start = float(alone.intercept[j]), float(alone.scale[j])
        found = l1_logistic(
            y,
            own,
            columns,
            strictness * error,
            PRECISION / len(y),
            TOLERANCE * error * min(strictness, 1.0),
            start,
        )
        residual[j] = found.residual / (strictness * error)
        if not found.weights.any():
            continue
        A[:, j] = [nine_digits(w / sd) if w else 0.0 for w, sd in zip(found.weights, spread, strict=True)]
        middle = sources[known].mean(axis=0) @ A[:, j]  # columns are centred: the intercept is not
        on_truth.intercept[j], on_truth.scale[j] = (
            nine_digits(found.intercept - middle),
            nine_digits(found.scale),
        )
        message = probabilities[known] @ A[:, j]
        line.intercept[j], line.scale[j], kappa[j] = _refit(y, own, message, on_truth, j)
    return Fitted(A, line, kappa, on_truth, alone, residual)


def fit_alone(truth: np.ndarray, log_odds: np.ndarray) -> Line:
    """b and s of each label without couplings, with the prior of s."""
    n_labels = truth.shape[1]
    line = Line(np.zeros(n_labels), np.ones(n_labels))
    for j in range(n_labels):
        known = ~np.isnan(truth[:, j])
        y, own = truth[known, j], log_odds[known, j]
        if 0 < y.sum() < len(y):
            found = _not_negative(y, np.stack([np.ones(len(y)), own]), np.array([0.0, 1.0]))
            line.intercept[j], line.scale[j] = (nine_digits(value) for value in found)
    return line


def _refit(
    y: np.ndarray, own: np.ndarray, message: np.ndarray, on_truth: Line, j: int
) -> tuple[float, float, float]:
    """b, s and kappa beside probabilities."""
    features = np.stack([np.ones(len(y)), own, message])
    # The prior's means but for the intercept, which has no prior.
    start = np.array([on_truth.intercept[j], 1.0, 1.0])
    b, s, kappa = (nine_digits(value) for value in _not_negative(y, features, start))
    return b, s, kappa


def _not_negative(y: np.ndarray, features: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Intercept, scale and, if there is one, kappa: the minimum among scale, kappa >= 0 (damped Newton)."""
    n = len(start)
    precision = np.full(n, PRECISION)
    precision[0] = 0
    slopes = list(range(1, n))
    best, least = start, np.inf
    # Few enough slopes to try every set of them at 0; the first is nearly always the answer.
    for at_zero in sorted((s for s in _subsets(slopes)), key=len):
        free = [k for k in range(n) if k not in at_zero]
        found = np.zeros(n)
        found[free], value = fit_logistic(features[free], y, start[free], precision[free])
        value += sum(PRECISION / 2 for _ in at_zero)  # what is fixed at 0 pays for its distance from 1
        if (found[1:] >= 0).all():
            if not at_zero:
                return found
            if value < least:
                best, least = found, value
    return best


def _subsets(items: list[int]) -> list[tuple[int, ...]]:
    return [()] if not items else [s + t for s in _subsets(items[1:]) for t in ((), (items[0],))]


class _Standardised:
    """Sources with mean 0 and variance 1 over the rows that are asked for; a constant one as zeros."""

    def __init__(self, sources: np.ndarray) -> None:
        self.sources = np.ascontiguousarray(sources.T)
        self.of_all: tuple[np.ndarray, np.ndarray] | None = None

    def rows(self, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(L, n_known) columns, a copy, and their standard deviations (L,), 1 for a constant one."""
        if not known.all():
            return self._made(self.sources[:, known])
        if self.of_all is None:
            self.of_all = self._made(self.sources)
        return self.of_all[0].copy(), self.of_all[1]

    @staticmethod
    def _made(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spread = columns.std(axis=1)
        moves = spread > 1e-12
        spread = np.where(moves, spread, 1.0)
        centred = (columns - columns.mean(axis=1, keepdims=True)) * moves[:, None]
        return centred / spread[:, None], spread
