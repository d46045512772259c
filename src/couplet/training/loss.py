"""What a loss is: the plug-in that scores logits against labels, one file each in losses/.

Losses are exact in float32 far beyond any logit that training meets; unknown labels are masked.
"""

from __future__ import annotations

import importlib
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from couplet.settings.params import LossParams

Reduction = Literal["batchmean", "mean", "sum"]


class MultiLabelLoss(nn.Module):
    """What all losses share: smoothing, masking and reduction of a (B, L) table of cell losses.

    A file losses/<name>.py holds one and names it LOSS; its typed settings are settings/losses/<name>.py.

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

    @classmethod
    def from_settings(
        cls, settings: Any, reduction: Reduction, smoothing: float, train_truth: np.ndarray
    ) -> MultiLabelLoss:
        """Build the loss; `train_truth` (N, L) are the training fold's labels, NaN for unknown."""
        raise NotImplementedError

    def begin_epoch(self, epoch: int) -> None:
        """Told before the first batch of each epoch, from 0; most losses do not ask."""

    def forward(self, logits: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            logits: (B, L), any floating type; computed in float32 at least, also under autocast.
            truth: (B, L) in [0, 1]; NaN is unknown: without loss and without gradient.
            mask: (B, L), true where a cell counts; None: wherever the target is known.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            known = ~truth.isnan()
            if mask is not None:
                known = known & mask.bool()
            filled = torch.where(known, truth, 0).to(logits.dtype)
            cells = torch.where(known, self.cells(logits, smooth_labels(filled, self.smoothing)), 0)
            cells = self.corrected(cells, logits, known & (filled == 0))
            if self.reduction == "mean":
                return cells.sum() / known.sum().clamp(min=1)
            return cells.sum() / (len(logits) if self.reduction == "batchmean" else 1)

    def probability(self, logits: Tensor) -> Tensor:
        """The probability that a logit means under this loss: that for which its expected loss is the least.

        Label smoothing is undone and the result cut to [0, 1]. Computed in float32 at least; it has a gradient.

        Args:
            logits: (B, L), any floating type.

        See Also:
            couplet.evaluation.calibration.inverse.posterior_of: the same of outputs, where calibration starts.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            link = torch.sigmoid(self.log_odds(logits))
            eps = self.smoothing
            return ((link - eps / 2) / (1 - eps)).clamp(0, 1) if eps else link

    def log_odds(self, logits: Tensor) -> Tensor:
        """Log odds (B, L) of what logits mean, smoothing aside; of a proper loss the logits themselves."""
        return logits

    def cells(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every cell (B, L), of targets without NaN."""
        raise NotImplementedError

    def uninformed_logits(self, train_truth: np.ndarray) -> Tensor:
        """The logits (L,) that cost the least if images say nothing: a label's best constant, where a bias may start.

        Of binary cross-entropy the log odds of the prevalence; of ASL (0, 4, 0.05) at 2 % -0.58 and not -3.89. Found
        by halving [-30, 30] at the sign of the slope, since a loss is linear in its targets and has one minimum.

        Args:
            train_truth: (N, L) of 0, 1 or NaN. A label that is nowhere, or everywhere, counts as half an image's.

        Returns:
            Float32 (L,), on the CPU; 0 for a label without a known cell.
        """
        known = (~np.isnan(train_truth)).sum(axis=0)
        n = np.maximum(known, 1)
        share = np.clip(np.nansum(train_truth, axis=0) / n, 0.5 / n, 1 - 0.5 / n)
        targets = smooth_labels(torch.tensor(share[None], dtype=torch.float64), self.smoothing)
        low, high = torch.full_like(targets, -30), torch.full_like(targets, 30)
        for _ in range(60):
            middle = ((low + high) / 2).requires_grad_()
            (slope,) = torch.autograd.grad(self.cells(middle, targets).sum(), middle)
            middle = middle.detach()
            low, high = torch.where(slope < 0, middle, low), torch.where(slope < 0, high, middle)
        return torch.where(torch.tensor(known > 0), high[0], 0).float()

    def corrected(self, cells: Tensor, logits: Tensor, negative: Tensor) -> Tensor:
        """The losses (B, L) that count, of a loss that looks at a batch as a whole; else `cells` as they are.

        Args:
            cells: losses, 0 where a label is unknown.
            logits: of these cells.
            negative: true where a label is known and 0, before smoothing.
        """
        return cells


def smooth_labels(targets: Tensor, eps: float) -> Tensor:
    """y (1 - eps) + eps / 2.

    >>> smooth_labels(torch.tensor([0.0, 1.0]), eps=0.1)
    tensor([0.0500, 0.9500])
    """
    return targets * (1 - eps) + eps / 2 if eps else targets


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


def build_loss(loss: LossParams, train_truth: np.ndarray) -> MultiLabelLoss:
    """The loss of params.yaml's section `loss`. Only its own file is imported: editing another retrains nothing.

    Args:
        loss: the section.
        train_truth: (N, L) labels of the training fold, NaN for unknown.
    """
    kind: type[MultiLabelLoss] = importlib.import_module(f"couplet.losses.{loss.name}").LOSS
    return kind.from_settings(loss.settings, loss.reduction, loss.smoothing, train_truth)
