"""Binary cross-entropy that mistrusts negatives which the network, as it learns, will not believe."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from couplet.training.loss import MultiLabelLoss, Reduction, smooth_labels


class LargeLossBCE(MultiLabelLoss):
    """LL-R and LL-Ct (Kim et al., "Large Loss Matters in Weakly Supervised Multi-Label Classification", CVPR 2022).

    In epoch e, counted from 1, the k = ceil((e - 1) rate B L) largest losses of observed negatives of a batch are
    dropped, or replaced by the loss of a positive. Of equal losses the one in the lower place counts as larger, so
    that always k are chosen (the released code takes all that equal the k-th). Unknown cells are no negatives.

    Args:
        rate: Delta, in [0, 1).
        rule: drop (LL-R) or flip (LL-Ct).
        reduction, smoothing: see `MultiLabelLoss`.
    """

    def __init__(
        self,
        rate: float,
        rule: Literal["drop", "flip"] = "drop",
        reduction: Reduction = "batchmean",
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction, smoothing)
        self.rate, self.rule = rate, rule
        self.epoch = 0

    @classmethod
    def from_settings(
        cls, settings: Any, reduction: Reduction, smoothing: float, train_truth: np.ndarray
    ) -> LargeLossBCE:
        """Build it from settings/losses/bce_large_loss.py; labels are not asked for."""
        return cls(settings.rate, settings.rule, reduction, smoothing)

    def begin_epoch(self, epoch: int) -> None:
        """Mistrust as many negatives as the epoch, from 0, allows."""
        self.epoch = epoch

    def cells(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every cell (B, L), before any is mistrusted."""
        return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def corrected(self, cells: Tensor, logits: Tensor, negative: Tensor) -> Tensor:
        """The losses without, or with the other label of, the mistrusted negatives."""
        # Rounded first: 0.1 * 3 * 10 is a little more than 3 in binary.
        k = min(math.ceil(round(self.epoch * self.rate * cells.numel(), 6)), cells.numel())
        if not k:
            return cells
        size = torch.where(negative, cells.detach(), -1).flatten()  # no loss is negative
        largest = size.argsort(descending=True, stable=True)[:k]
        mistrusted = (
            torch.zeros_like(size, dtype=torch.bool).scatter(0, largest, True).view_as(cells) & negative
        )
        positive = smooth_labels(torch.ones_like(cells), self.smoothing)
        other = self.cells(logits, positive) if self.rule == "flip" else torch.zeros_like(cells)
        return torch.where(mistrusted, other, cells)


LOSS = LargeLossBCE
