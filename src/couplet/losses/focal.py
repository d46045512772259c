"""Focal loss of either side, mixed with binary cross-entropy (Lin et al., ICCV 2017; Xiong et al., 2025)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from couplet.training.loss import MultiLabelLoss, Reduction, positive_weights

MOST = 50.0  # |logit| beyond which log odds are not followed: 1 - sigmoid would leave float32


class FocalLoss(MultiLabelLoss):
    """(1 - mix) focal + mix bce with focal = -[w y (1-p)^gamma_pos log p + (1-y) p^gamma_neg log(1-p)].

    bce has the weights w too. Written with log-sigmoids: value and gradient are finite for every logit.

    Args:
        gamma_pos, gamma_neg: focusing, >= 0.
        mix: share of binary cross-entropy, in [0, 1].
        pos_weight: w (L,), see `positive_weights`; None: 1.
        reduction, smoothing: see `MultiLabelLoss`.

    >>> loss = FocalLoss(reduction="sum")
    >>> round(loss(torch.zeros(1, 1), torch.ones(1, 1)).item(), 6)  # at p = 1/2: a quarter of log 2
    0.173287
    """

    pos_weight: Tensor | None

    def __init__(
        self,
        gamma_pos: float = 2.0,
        gamma_neg: float = 2.0,
        mix: float = 0.0,
        pos_weight: Tensor | None = None,
        reduction: Reduction = "batchmean",
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction, smoothing)
        self.gamma_pos, self.gamma_neg, self.mix = gamma_pos, gamma_neg, mix
        self.register_buffer("pos_weight", pos_weight)

    @classmethod
    def from_settings(
        cls, settings: Any, reduction: Reduction, smoothing: float, train_truth: np.ndarray
    ) -> FocalLoss:
        """Build it from settings/losses/focal.py, with weights from the training fold if asked to."""
        weights = positive_weights(train_truth) if settings.pos_weight else None
        focus = (settings.gamma_pos, settings.gamma_neg, settings.mix)
        return cls(*focus, weights, reduction, smoothing)

    def cells(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every cell (B, L)."""
        positive = targets * self._side(-logits, self.gamma_pos)
        if self.pos_weight is not None:
            positive = positive * self.pos_weight.to(logits.dtype)
        return positive + (1 - targets) * self._side(logits, self.gamma_neg)

    def _side(self, z: Tensor, gamma: float) -> Tensor:
        """-(mix + (1 - mix) p^gamma) log(1 - p) of p = sigmoid(z)."""
        focus = self.mix + (1 - self.mix) * torch.exp(gamma * functional.logsigmoid(z))
        return -focus * functional.logsigmoid(-z)

    def log_odds(self, logits: Tensor) -> Tensor:
        """Log odds (B, L) of the posterior for which a logit is the best; smoothing aside.

        See settings/losses/focal.py, which derives them; beyond |z| = 50 they stay what they are there.
        """
        z = logits.clamp(-MOST, MOST)
        odds = z + self._log_cost(z, self.gamma_neg) - self._log_cost(-z, self.gamma_pos)
        return odds if self.pos_weight is None else odds - torch.log(self.pos_weight.to(logits.dtype))

    def _log_cost(self, z: Tensor, gamma: float) -> Tensor:
        """log of mix + (1 - mix) p^gamma (1 - gamma (1-p) log(1-p) / p), p = sigmoid(z)."""
        log_p, log_q = functional.logsigmoid(z), functional.logsigmoid(-z)
        ratio = -torch.exp(log_q - log_p) * log_q
        return torch.log(self.mix + (1 - self.mix) * torch.exp(gamma * log_p) * (1 + gamma * ratio))


LOSS = FocalLoss
