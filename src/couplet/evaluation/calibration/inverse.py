"""What a loss makes of a posterior, and back: the start of every calibrator, which needs no label.

A network that minimises a loss other than a proper one gives out scores. Where the loss is known, so is the posterior
that each score stands for (Charoenphakdee et al. 2021, of the focal loss). It holds for the minimiser of the expected
loss: an overfitted network is over-confident after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import logit

from couplet.evaluation.calibration.beta import BetaMap
from couplet.settings.schema.loss import LossParams
from couplet.settings.schema.plugins import LOSSES

LossPosterior = Callable[[np.ndarray, float | np.ndarray], np.ndarray]
"""The posterior of outputs p, given the label's prevalence, by which some losses weigh.

Of one label p has any shape and the prevalence is a number; of L labels p is (..., L) and the prevalence (L,).
"""

LOWEST, HIGHEST, POINTS = 0.002, 0.95, 200  # posteriors between which a prior follows the inverse


def posterior_of(loss: LossParams) -> LossPosterior:
    """The inverse of the section `loss` of params.yaml, its label smoothing undone.

    A loss brings its own: `posterior(p, settings, prevalence)` beside its settings class. One without it counts as
    proper (its minimiser is the posterior), as binary cross-entropy is. So do those that correct wrong labels: of
    bce_forward it is the posterior of the clean label. A loss of ranks has none, and begins at the identity as well.

    Returns:
        A function of outputs in [0, 1] and a prevalence, rising in the outputs, with values in [0, 1].

    >>> posterior = posterior_of(LossParams())  # ASL (0, 4, 0.05)
    >>> posterior(np.array([0.36, 0.5, 0.9]), 0.02).round(4).tolist()
    [0.0203, 0.1276, 0.8799]
    """
    own = getattr(LOSSES.module(loss.name), "posterior", None)
    settings, eps = loss.settings, loss.smoothing

    def posterior(p: np.ndarray, prevalence: float | np.ndarray) -> np.ndarray:
        smoothed = np.asarray(p, dtype=np.float64) if own is None else own(p, settings, prevalence)
        return np.clip((smoothed - eps / 2) / (1 - eps), 0, 1) if eps else smoothed

    return posterior


def proper(p: np.ndarray, prevalence: float | np.ndarray) -> np.ndarray:
    """The inverse where outputs are probabilities already: those of a proper loss, or refined ones."""
    return np.asarray(p, dtype=np.float64)


def output_of(eta: np.ndarray, posterior: LossPosterior, prevalence: float | np.ndarray) -> np.ndarray:
    """The output p at which the loss expresses the posterior eta: what `posterior` undoes, by halving intervals.

    With eta = the prevalence it is the no-information output: what a network gives that learned nothing.

    Args:
        eta: posteriors in (0, 1), of any shape; of several labels (..., L).
        posterior, prevalence: of the loss and the label, or (L,) of the labels.

    Returns:
        float64 in (0, 1]; 1 where eta is above what the loss ever expresses.

    >>> output_of(np.array([0.02, 0.1, 0.99]), posterior_of(LossParams()), 0.02).round(4).tolist()
    [0.359, 0.4775, 1.0]
    """
    eta = np.asarray(eta, dtype=np.float64)
    low, high = np.zeros_like(eta), np.ones_like(eta)
    for _ in range(60):  # to the last digit
        middle = (low + high) / 2
        below = posterior(middle, prevalence) < eta
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high


def priors_of(posterior: LossPosterior, prevalences: Sequence[float] | np.ndarray) -> list[BetaMap]:
    """Of each label the beta map that is nearest to the loss's inverse, where that is 0.002 to 0.95.

    By least squares of log odds. Of ASL (0, 4, 0.05) it differs from the exact inverse by 0.0036 of probability at
    most there. A negative slope is set to 0 and the rest fitted again. A loss that expresses no posterior above 0.002
    has no prior: nothing changes.

    >>> priors_of(posterior_of(LossParams()), [0.02])[0].rounded()
    BetaMap(a=5.7199366, b=0.33773939, c=1.79999729)
    """
    ends = np.broadcast_to([[LOWEST], [HIGHEST]], (2, len(prevalences)))
    low, high = output_of(ends, posterior, np.array(prevalences)).tolist()
    return [_prior(posterior, *label) for label in zip(prevalences, low, high, strict=True)]


def _prior(posterior: LossPosterior, prevalence: float, low: float, high: float) -> BetaMap:
    """The same of one label, from the outputs at both ends."""
    if low == high:
        return BetaMap(1.0, 1.0, 0.0)
    p = low + (np.arange(POINTS) + 0.5) / POINTS * (high - low)
    features = np.stack([np.log(p), -np.log1p(-p), np.ones(POINTS)])
    wanted = logit(posterior(p, prevalence))
    free = [0, 1, 2]
    while True:
        found = np.zeros(3)
        found[free] = np.linalg.lstsq(features[free].T, wanted, rcond=None)[0]
        if (found[:2] >= 0).all():
            return BetaMap(*found.tolist())
        free.remove(int(found[:2].argmin()))
