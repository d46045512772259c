"""An LSTM over the labels: Yao et al., "Learning to diagnose from scratch", arXiv:1710.10501, 2017.

Names carry shapes: B images, L labels, F features, D width of the state.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from couplet.models.head import Head, HeadInputs


class LabelLSTM(Head):
    """z_t = <w_t, h_t> + b_t for the labels t = 1..L in their order, where the state h_t has seen the labels before.

    h_0 = tanh(W_h v + b_h), c_0 = tanh(W_c v + b_c), (h_t, c_t) = LSTM(a_t; h_t-1, c_t-1) with a_1 = 0. While training
    a_t+1 = y_t, where that is known; otherwise, and in prediction, a_t+1 = sigmoid(z_t) without gradient.

    >>> head = LabelLSTM(in_features=1024, n_labels=14, hidden=100)
    >>> sum(parameter.numel() for parameter in head.parameters())
    247614
    """

    def __init__(self, in_features: int, n_labels: int, hidden: int = 100) -> None:
        super().__init__()
        self.state = nn.Linear(in_features, hidden)
        self.cell = nn.Linear(in_features, hidden)
        self.lstm = nn.LSTMCell(1, hidden)
        bound = 1 / math.sqrt(hidden)
        self.out_weight = nn.Parameter(torch.empty(n_labels, hidden).uniform_(-bound, bound))
        self.out_bias = nn.Parameter(torch.empty(n_labels).uniform_(-bound, bound))
        self._truth: Tensor | None = None

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> LabelLSTM:
        """Build it from settings/heads/lstm.py."""
        return cls(inputs.in_features, inputs.n_labels, settings.hidden)

    def shown(self, truth: Tensor) -> Tensor:
        """Keep the labels for the coming forward pass; all are scored: a logit follows from earlier ones alone."""
        self._truth = truth
        return truth

    def forward(self, features: Tensor) -> Tensor:
        """Pooled features (B, F) to logits (B, L), in float32 even under autocast."""
        truth, self._truth = self._truth, None
        return self.given(features, truth if self.training else None)

    def given(self, features: Tensor, truth: Tensor | None = None) -> Tensor:
        """Logits (B, L), each given the labels before it in `truth` (B, L), NaN where not known; None: none is."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.out_bias.dtype)
            state = torch.tanh(self.state(features)), torch.tanh(self.cell(features))
            told_B = features.new_zeros(features.shape[0])
            logits = []
            for label, (weight_D, bias) in enumerate(zip(self.out_weight, self.out_bias, strict=True)):
                state = self.lstm(told_B[:, None], state)
                logits.append(state[0] @ weight_D + bias)
                told_B = logits[-1].detach().sigmoid()
                if truth is not None:
                    told_B = torch.where(truth[:, label].isnan(), told_B, truth[:, label].to(told_B.dtype))
            return torch.stack(logits, dim=1)


HEAD = LabelLSTM
