"""One perceptron per label: Taslimi et al., "SwinCheX", arXiv:2206.04246, 2022, as released.

Names carry shapes: B images, L labels, F features, I and O widths of a layer's inputs and outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from couplet.models.head import Head, HeadInputs


class LabelMLPHead(Head):
    """z_l = w_l . relu(... relu(W1_l v + b1_l)) + b_l, for each label l a net of its own; no norm, nothing shared.

    The first layers of all labels are one product; the later ones are one batched product each.

    >>> head = LabelMLPHead(in_features=1536, n_labels=14, hidden=[384, 48, 48])
    >>> sum(parameter.numel() for parameter in head.parameters())
    8555246
    """

    def __init__(self, in_features: int, n_labels: int, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        widths = [in_features, *hidden, 1]
        weights, biases = [], []
        for inputs, outputs in pairwise(widths):
            bound = 1 / math.sqrt(inputs)  # as a linear layer of each label starts
            weights.append(nn.Parameter(torch.empty(n_labels, inputs, outputs).uniform_(-bound, bound)))
            biases.append(nn.Parameter(torch.empty(n_labels, outputs).uniform_(-bound, bound)))
        self.weights, self.biases = nn.ParameterList(weights), nn.ParameterList(biases)

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> LabelMLPHead:
        """Build it from settings/heads/label_mlp.py."""
        return cls(inputs.in_features, inputs.n_labels, settings.hidden)

    def no_weight_decay(self) -> set[str]:
        """Of each label's net the biases are vectors; here they are rows of one table (optimizer.decay_vectors)."""
        return {f"biases.{layer}" for layer in range(len(self.biases))}

    def forward(self, features: Tensor) -> Tensor:
        """Pooled features (B, F) to logits (B, L), in float32 even under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            first_LFO, bias_LO = self.weights[0], self.biases[0]
            features_BF = features.to(first_LFO.dtype)
            every_first_FLO = first_LFO.transpose(0, 1).flatten(1)
            state_BLO = (features_BF @ every_first_FLO).unflatten(1, bias_LO.shape) + bias_LO
            for weight_LIO, bias_LO in zip(self.weights[1:], self.biases[1:], strict=True):
                state_BLO = torch.einsum("bli,lio->blo", functional.relu(state_BLO), weight_LIO) + bias_LO
            return state_BLO[..., 0]


HEAD = LabelMLPHead
