"""The second paper's ResNet-101 GMP baseline: global max pooling, then dropout and one linear layer."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from couplet.models.head import Head, HeadInputs


class MaxPoolHead(Head):
    """Global max pooling, dropout and one linear layer over a feature map; arguments as `LinearHead`."""

    reads: ClassVar[Literal["vector", "map"]] = "map"

    def __init__(self, in_features: int, n_labels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(in_features, n_labels)

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> MaxPoolHead:
        """It has no settings of its own; model.dropout is every plain head's."""
        return cls(inputs.in_features, inputs.n_labels, inputs.dropout)

    def forward(self, features: Tensor) -> Tensor:
        """A feature map (B, F, H, W) to logits (B, L), in float32 even under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.classifier.weight.dtype)
            # amax after flattening: unlike adaptive max pooling, its backward pass is deterministic on a GPU.
            return self.classifier(self.dropout(features.flatten(2).amax(dim=2)))


HEAD = MaxPoolHead
