"""Focal loss (Lin et al., ICCV 2017) of each side, mixed with binary cross-entropy as in Xiong et al. (2025).

How Xiong et al. mix the two is not stated in what we could read: a weighted mean here.
Without mix and weights it is asl with clip 0; with mix 1 it is bce.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from couplet.settings.schema.loss import weight_of_positives
from couplet.settings.schema.section import COUPLET, OWN_PAPER, Fraction, NotNegative, Section

if TYPE_CHECKING:
    import numpy as np


class Settings(Section):
    """Focusing of either side, the share of plain cross-entropy, and how positives are weighted."""

    gamma_pos: NotNegative = Field(2.0, description="focusing of positives", json_schema_extra=OWN_PAPER)
    gamma_neg: NotNegative = Field(2.0, description="focusing of negatives", json_schema_extra=OWN_PAPER)
    mix: Fraction = Field(0.0, description="share of binary cross-entropy", json_schema_extra=OWN_PAPER)
    pos_weight: bool = Field(
        False,
        description="weight positives by negatives / positives of the training fold, within [1, 10]",
        json_schema_extra=COUPLET,
    )


def posterior(p: np.ndarray, settings: Settings, prevalence: float | np.ndarray) -> np.ndarray:
    """P(y = 1) of an image for which an output of p has the least expected loss: the loss's inverse, exact.

    The expected loss has one stationary point, where odds(eta) = G(p) / (w G(1 - p)) with the weight w of positives and
    G(p) = mix / (1-p) + (1-mix) [p^g / (1-p) - g p^(g-1) log(1-p)], g being gamma_neg in G(p), gamma_pos in G(1 - p).

    Args:
        p: outputs of any shape, in [0, 1].
        settings: of the loss.
        prevalence: the label's share of positives in training, from which the weight follows; NaN: unknown.
            Of one label, or of labels as p's last axis has them.

    Returns:
        float64 in [0, 1], of p's shape, rising in p.

    >>> import numpy as np
    >>> posterior(np.array([0.0, 0.2, 0.5, 0.8, 1.0]), Settings(), prevalence=0.1).round(4).tolist()
    [0.0, 0.0235, 0.5, 0.9765, 1.0]
    """
    import numpy as np

    p = np.asarray(p, dtype=np.float64)
    weight = weight_of_positives(prevalence) if settings.pos_weight else 1.0

    def cost(q: np.ndarray, gamma: float) -> np.ndarray:
        """(1 - q) G(q); -log(1-q) / q is 1 at 0, and its product with 1 - q 0 at 1."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(q > 0, np.where(q < 1, -(1 - q) * np.log1p(-q) / q, 0), 1)
        return settings.mix + (1 - settings.mix) * q**gamma * (1 + gamma * ratio)

    negative = p * cost(p, settings.gamma_neg)
    positive = weight * (1 - p) * cost(1 - p, settings.gamma_pos)
    return negative / (negative + positive)
