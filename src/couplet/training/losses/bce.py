"""Binary cross-entropy, with a weight per label on its positives if asked to."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional

from couplet.training.loss import MultiLabelLoss, Reduction


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
        return logits if self.pos_weight is None else logits - torch.log(self.pos_weight.to(logits.dtype))


def positive_weights(truth: ArrayLike) -> Tensor:
    """Negatives per positive of each label of the training fold, clipped to [1, 10].

    Args:
        truth: (N, L) with 0, 1 or NaN (unknown: counted as neither).

    Returns:
        Float32 (L,); 10 for a label without positives.

    >>> positive_weights([[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    tensor([ 3., 10.,  1.])
    """
    table = np.asarray(truth, dtype=np.float64)
    positives, negatives = (table == 1).sum(axis=0), (table == 0).sum(axis=0)
    ratio = np.divide(negatives, positives, out=np.full(table.shape[1], np.inf), where=positives > 0)
    return torch.tensor(np.clip(ratio, 1, 10), dtype=torch.float32)


LOSS = WeightedBCE
