"""Binary cross-entropy: the first paper's alternative (weighted), and the second paper's loss (not weighted)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from couplet.settings.schema.loss import weight_of_positives
from couplet.settings.schema.section import PAPER_1, Section

if TYPE_CHECKING:
    import numpy as np


class Settings(Section):
    """How positives are weighted."""

    pos_weight: bool = Field(
        True,
        description="weight positives by negatives / positives of the training fold, within [1, 10]",
        json_schema_extra=PAPER_1,
    )


def posterior(p: np.ndarray, settings: Settings, prevalence: float | np.ndarray) -> np.ndarray:
    """P(y = 1) of an image for which an output of p has the least expected loss: odds(p) / weight of positives.

    Args:
        p: outputs of any shape, in [0, 1].
        settings: of the loss.
        prevalence: the label's share of positives in training, from which the weight follows; NaN: unknown.
            Of one label, or of labels as p's last axis has them.

    Returns:
        float64 in [0, 1], of p's shape.

    >>> import numpy as np
    >>> posterior(np.array([0.0, 0.5, 1.0]), Settings(), prevalence=0.25).tolist()
    [0.0, 0.25, 1.0]
    """
    import numpy as np

    p = np.asarray(p, dtype=np.float64)
    weight = weight_of_positives(prevalence) if settings.pos_weight else 1.0
    return p / (p + weight * (1 - p))
