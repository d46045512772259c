"""Pairwise loss within an image: smooth pairwise error, Kumar et al., "Boosted cascaded convnets", arXiv:1711.08760."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from couplet.training.loss import MultiLabelLoss, Reduction


class PairwiseLoss(MultiLabelLoss):
    """Per image the mean over pairs of a positive p and a negative n of softplus(z_n - z_p); 0 without such a pair.

    Only known labels make pairs. `batchmean` and `mean` are the mean over the B images of the batch, `sum` their sum.

    >>> loss = PairwiseLoss()
    >>> round(loss(torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0]])).item(), 6)
    0.220095
    """

    @classmethod
    def from_settings(
        cls, settings: Any, reduction: Reduction, smoothing: float, train_truth: np.ndarray
    ) -> PairwiseLoss:
        """Build it; it has no settings, and loss.smoothing has no meaning for it."""
        return cls(reduction)

    def forward(self, logits: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss, a scalar; see `MultiLabelLoss.forward`. Truth is 0, 1 or NaN."""
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            counts = torch.ones_like(truth, dtype=torch.bool) if mask is None else mask.bool()
            positive_BL, negative_BL = ((truth == value) & counts for value in (1, 0))
            pairs_BPN = positive_BL[:, :, None] & negative_BL[:, None, :]
            costs_BPN = functional.softplus(logits[:, None, :] - logits[:, :, None])
            sums_B = torch.where(pairs_BPN, costs_BPN, 0).sum(dim=(1, 2))
            images_B = sums_B / pairs_BPN.sum(dim=(1, 2)).clamp(min=1)
            return images_B.sum() if self.reduction == "sum" else images_B.mean()

    def uninformed_logits(self, train_truth: np.ndarray) -> Tensor:
        """0: pairs of other labels decide where a label's constant is best, and only up to a shift of all."""
        return torch.zeros(train_truth.shape[1])


LOSS = PairwiseLoss
