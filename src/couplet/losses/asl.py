"""The asymmetric loss (Ridnik et al., "Asymmetric Loss For Multi-Label Classification", ICCV 2021)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from couplet.training.loss import MultiLabelLoss, Reduction

LEAST_EXCESS = 0.01  # above the clip: below it log odds fall without end, and too steeply to be followed


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

    @classmethod
    def from_settings(
        cls, settings: Any, reduction: Reduction, smoothing: float, train_truth: np.ndarray
    ) -> AsymmetricLoss:
        """Build it from settings/losses/asl.py; labels are not asked for."""
        return cls(settings.gamma_pos, settings.gamma_neg, settings.clip, reduction, smoothing=smoothing)

    def cells(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every cell (B, L)."""
        return targets * self._positive(logits) + (1 - targets) * self._negative(logits)

    def log_odds(self, logits: Tensor) -> Tensor:
        """Where the expected loss has no slope: odds = G / H, as settings/losses/asl.py derives them.

        Below an output of clip + 0.01 they go on linearly with the slope there: no logit is without a gradient.
        """
        start, slope = self._straight_line
        # Rounded last: near their highest value log odds rise by less than a digit of float32.
        z = logits.double()
        return (self._log_odds(z.clamp(min=start)) + slope * (z - start).clamp(max=0)).to(logits.dtype)

    def _log_odds(self, z: Tensor) -> Tensor:
        """log G(p - clip) - log H(p) for p = sigmoid(z) above the clip."""
        log_p, log_q = functional.logsigmoid(z), functional.logsigmoid(-z)
        p, q = torch.sigmoid(z), torch.sigmoid(-z)
        excess = torch.where(z > 0, (1 - self.clip) - q, p - self.clip)
        rest = q + self.clip  # 1 - s
        log_rest = log_q
        if self.clip:
            log_rest = torch.where(z > 0, torch.log(rest), torch.log1p(-excess.clamp(max=0.75)))
        own_focus = 0.0 if self.detach_focus else 1.0
        # -log(1 - s) / s and -log(p) / (1 - p), which are 1 at the ends.
        log_g = self.gamma_neg * torch.log(excess) - log_rest
        log_g = log_g + torch.log1p(own_focus * self.gamma_neg * rest * -log_rest / excess)
        log_h = self.gamma_pos * log_q - log_p
        far = z > 20  # there the quotient is 1, and q may be too small a number to divide by
        quotient = torch.where(far, 1.0, -log_p / torch.where(far, 1.0, q))
        log_h = log_h + torch.log1p(own_focus * self.gamma_pos * p * quotient)
        return log_g - log_h

    @cached_property
    def _straight_line(self) -> tuple[float, float]:
        """The logit below which log odds are a straight line, and its slope."""
        lowest = self.clip + min(LEAST_EXCESS, (1 - self.clip) / 2)
        with torch.inference_mode(False), torch.enable_grad():
            z = torch.logit(torch.tensor(lowest, dtype=torch.float64)).requires_grad_()
            return z.item(), torch.autograd.grad(self._log_odds(z), z)[0].item()

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


LOSS = AsymmetricLoss
