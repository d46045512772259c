"""Supervised losses: exact in float32 far beyond any logit that training meets, unknown labels masked."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from couplet.settings.params import LossParams

Reduction = Literal["batchmean", "mean", "sum"]


class MultiLabelLoss(nn.Module):
    """What both losses share: smoothing, masking and reduction of a (B, L) table of cell losses.

    Args:
        reduction: `batchmean` sums over labels and averages over the B images of the batch; `mean` averages
            over the known cells; `sum` sums.
        smoothing: eps of `smooth_labels`.

    Raises:
        ValueError: an unknown reduction.
    """

    def __init__(self, reduction: Reduction = "batchmean", smoothing: float = 0.0) -> None:
        super().__init__()
        if reduction not in ("batchmean", "mean", "sum"):
            raise ValueError(f"reduction must be batchmean, mean or sum, not {reduction!r}")
        self.reduction: Reduction = reduction
        self.smoothing = smoothing

    def forward(self, logits: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            logits: (B, L), any floating type; computed in float32 at least, also under autocast.
            targets: (B, L) in [0, 1]; NaN is unknown: without loss and without gradient.
            mask: (B, L), true where a cell counts; None: wherever the target is known.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            known = ~targets.isnan()
            if mask is not None:
                known = known & mask.bool()
            filled = torch.where(known, targets, 0).to(logits.dtype)
            cells = torch.where(known, self.cells(logits, smooth_labels(filled, self.smoothing)), 0)
            if self.reduction == "mean":
                return cells.sum() / known.sum().clamp(min=1)
            return cells.sum() / (len(logits) if self.reduction == "batchmean" else 1)

    def cells(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every cell (B, L), of targets without NaN."""
        raise NotImplementedError


class AsymmetricLoss(MultiLabelLoss):
    """ASL (Ridnik et al., 2021): -[y (1-p)^gamma_pos log p + (1-y) (1-p_m)^gamma_neg log p_m].

    p_m = min(1 - p + clip, 1) is a negative's probability of being right after the margin, so a negative with
    p <= clip has neither loss nor gradient. Soft labels weigh the two one-sided terms. gamma_pos =
    gamma_neg = clip = 0 is plain binary cross-entropy.

    No probability is clamped: log p is log-sigmoid, and 1 - p_m is taken from whichever of p and 1 - p is
    small. So value and gradient are finite and right for every logit, and no positive is given up as lost.

    Args:
        gamma_pos, gamma_neg: focusing, >= 0.
        clip: probability margin of negatives, in [0, 1).
        reduction: see `MultiLabelLoss`.
        detach_focus: no gradient through the focusing weights.
        smoothing: see `smooth_labels`.

    >>> loss = AsymmetricLoss(gamma_pos=0, gamma_neg=4, clip=0.05, reduction="sum")
    >>> for target in (1.0, 0.0):  # at p = 1/2: -log(1/2) and -(0.45 ** 4) * log(0.55)
    ...     print(round(loss(torch.zeros(1, 1), torch.tensor([[target]])).item(), 4))
    0.6931
    0.0245
    """

    def __init__(
        self,
        gamma_pos: float = 0.0,
        gamma_neg: float = 4.0,
        clip: float = 0.05,
        reduction: Reduction = "batchmean",
        detach_focus: bool = False,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction, smoothing)
        self.gamma_pos, self.gamma_neg, self.clip = gamma_pos, gamma_neg, clip
        self.detach_focus = detach_focus

    def cells(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every cell (B, L)."""
        return targets * self._positive(logits) + (1 - targets) * self._negative(logits)

    def _positive(self, logits: Tensor) -> Tensor:
        focus = torch.exp(self.gamma_pos * functional.logsigmoid(-logits))
        return -self._weight(focus) * functional.logsigmoid(logits)

    def _negative(self, logits: Tensor) -> Tensor:
        if self.clip == 0:
            focus = torch.exp(self.gamma_neg * functional.logsigmoid(logits))
            return -self._weight(focus) * functional.logsigmoid(-logits)
        # 1 - p_m = p - clip. Above p = 1/2 it is written with q = 1 - p: sigmoid's gradient is exact only
        # where its value is small.
        p, q, high = torch.sigmoid(logits), torch.sigmoid(-logits), logits > 0
        excess = torch.where(high, (1 - self.clip) - q, p - self.clip)
        # Cells within the margin are set to a harmless 1/2 first: 0 ** gamma has no finite gradient for
        # gamma < 1, and NaN survives a multiplication by zero.
        counts = excess > 0
        safe = torch.where(counts, excess, 0.5)
        log_p_m = torch.where(high, torch.log(q + self.clip), torch.log1p(-safe))
        return torch.where(counts, -self._weight(safe**self.gamma_neg) * log_p_m, 0)

    def _weight(self, focus: Tensor) -> Tensor:
        return focus.detach() if self.detach_focus else focus


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

    def cells(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every cell (B, L)."""
        weight = None if self.pos_weight is None else self.pos_weight.to(logits.dtype)
        return functional.binary_cross_entropy_with_logits(
            logits, targets, pos_weight=weight, reduction="none"
        )


def smooth_labels(targets: Tensor, eps: float) -> Tensor:
    """y (1 - eps) + eps / 2.

    >>> smooth_labels(torch.tensor([0.0, 1.0]), eps=0.1)
    tensor([0.0500, 0.9500])
    """
    return targets * (1 - eps) + eps / 2 if eps else targets


def positive_weights(labels: ArrayLike) -> Tensor:
    """Negatives per positive of each label of the training fold, clipped to [1, 10].

    Args:
        labels: (N, L) with 0, 1 or NaN (unknown: counted as neither).

    Returns:
        Float32 (L,); 10 for a label without positives.

    >>> positive_weights([[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    tensor([ 3., 10.,  1.])
    """
    table = np.asarray(labels, dtype=np.float64)
    positives, negatives = (table == 1).sum(axis=0), (table == 0).sum(axis=0)
    ratio = np.divide(negatives, positives, out=np.full(table.shape[1], np.inf), where=positives > 0)
    return torch.tensor(np.clip(ratio, 1, 10), dtype=torch.float32)


def build_loss(loss: LossParams, train_labels: ArrayLike) -> MultiLabelLoss:
    """The loss of params.yaml's section `loss`; the training fold's labels (N, L) give bce's weights."""
    if loss.name == "asl":
        return AsymmetricLoss(
            loss.gamma_pos, loss.gamma_neg, loss.clip, loss.reduction, smoothing=loss.smoothing
        )
    weights = positive_weights(train_labels) if loss.pos_weight else None
    return WeightedBCE(weights, loss.reduction, loss.smoothing)
