"""Binary cross-entropy, with a weight per label on its positives if asked to."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from couplet.training.loss import MultiLabelLoss, Reduction, positive_weights


class WeightedBCE(MultiLabelLoss):
    """Binary cross-entropy with a weight per label on its positives.

    Args:
        pos_weight: (L,), see `positive_weights`; None: plain binary cross-entropy.
        reduction, smoothing: see `MultiLabelLoss`.
    """

    pos_weight: Tensor | None

    def __init__(
        self, pos_weight: Tensor | None, reduction: Reduction = "batchmean", smoothing: float = 0.0
    ) -> None:
        super().__init__(reduction, smoothing)
        self.register_buffer("pos_weight", pos_weight)

    @classmethod
    def from_settings(
        cls, settings: Any, reduction: Reduction, smoothing: float, train_truth: np.ndarray
    ) -> WeightedBCE:
        """Build it from settings/losses/bce.py, with weights from the training fold if asked to."""
        weights = positive_weights(train_truth) if settings.pos_weight else None
        return cls(weights, reduction, smoothing)

    def cells(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every cell (B, L)."""
        weight = None if self.pos_weight is None else self.pos_weight.to(logits.dtype)
        return functional.binary_cross_entropy_with_logits(
            logits, targets, pos_weight=weight, reduction="none"
        )

    def log_odds(self, logits: Tensor) -> Tensor:
        """z - log(weight): a weighted positive is believed in too early."""
        return logits if self.pos_weight is None else logits - self.pos_weight.to(logits.dtype).log()


LOSS = WeightedBCE
