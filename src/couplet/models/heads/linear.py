"""The first paper's classifier: dropout and one linear layer over pooled features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from couplet.models.head import Head, HeadInputs


class LinearHead(Head):
    """Dropout and one linear layer over pooled features.

    Args:
        in_features: F.
        n_labels: L.
        dropout: probability of dropping a feature while training.
    """

    def __init__(self, in_features: int, n_labels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(in_features, n_labels)

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> LinearHead:
        """It has no settings of its own; model.dropout is every plain head's."""
        return cls(inputs.in_features, inputs.n_labels, inputs.dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Pooled features (B, F) to logits (B, L), in float32 even under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            return self.classifier(self.dropout(features.to(self.classifier.weight.dtype)))


HEAD = LinearHead
