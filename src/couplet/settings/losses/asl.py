"""Asymmetric loss (Ridnik et al., ICCV 2021), the first paper's choice with these values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from couplet.settings.schema.section import PAPER_1, NotNegative, Section

if TYPE_CHECKING:
    import numpy as np


class Settings(Section):
    """Focusing of either side, and the margin below which a negative costs nothing."""

    gamma_pos: NotNegative = Field(0.0, description="focusing of positives", json_schema_extra=PAPER_1)
    gamma_neg: NotNegative = Field(4.0, description="focusing of negatives", json_schema_extra=PAPER_1)
    clip: float = Field(
        0.05, ge=0, lt=1, description="probability margin of negatives", json_schema_extra=PAPER_1
    )


def posterior(p: np.ndarray, settings: Settings, prevalence: float | np.ndarray) -> np.ndarray:
    """P(y = 1) of an image for which an output of p has the least expected loss: the loss's inverse, exact.

    With s = max(p - clip, 0) the expected loss -eta (1-p)^g+ log p - (1-eta) s^g- log(1-s) has one stationary
    point, where odds(eta) = G(s) / H(p), G(s) = s^g- / (1-s) - g- s^(g- - 1) log(1-s) and
    H(p) = (1-p)^g+ / p - g+ (1-p)^(g+ - 1) log p. Strictly rising above the clip, 0 up to it.

    Args:
        p: outputs of any shape, in [0, 1].
        settings: of the loss.
        prevalence: not asked for; other losses weigh by it.

    Returns:
        float64 in [0, 1], of p's shape. With gamma_pos = 0 and a clip it ends below 1.

    >>> import numpy as np
    >>> posterior(np.array([0.05, 0.5, 1.0]), Settings(), prevalence=0.5).round(4).tolist()
    [0.0, 0.1276, 0.9637]
    """
    import numpy as np

    p = np.asarray(p, dtype=np.float64)
    excess, high = np.maximum(p - settings.clip, 0), p > 0.5
    # 1 - s and its logarithm, each from whichever of p and 1 - p is exact.
    rest = np.where(high, (1 - p) + settings.clip, 1 - excess)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_rest = np.where(high, np.log(rest), np.log1p(-excess))
        # G and H without their common powers. -log(1-s) / s and -log(p) / (1-p) are 1 at the ends.
        g, h = 1 / rest, 1 / p
        if settings.gamma_neg:
            g = g + settings.gamma_neg * np.where(excess > 0, -log_rest / excess, 1)
        if settings.gamma_pos:
            h = h + settings.gamma_pos * np.where(p < 1, -np.log(p) / (1 - p), 1)
        against = (1 - p) ** settings.gamma_pos * h / (excess**settings.gamma_neg * g)
        return np.where(excess > 0, 1 / (1 + against), 0.0)
