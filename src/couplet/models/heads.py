"""The plain heads: what stands between a backbone's features and the logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearHead(nn.Module):
    """Dropout and one linear layer over pooled features (the first paper's classifier).

    Args:
        in_features: F.
        n_labels: L.
        dropout: probability of dropping a feature while training.
    """

    def __init__(self, in_features: int, n_labels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(in_features, n_labels)

    def forward(self, features: Tensor) -> Tensor:
        """Pooled features (B, F) to logits (B, L), in float32 even under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            return self.classifier(self.dropout(features.to(self.classifier.weight.dtype)))


class MaxPoolHead(LinearHead):
    """Global max pooling before dropout and the linear layer (the second paper's ResNet-101 GMP baseline)."""

    def forward(self, features: Tensor) -> Tensor:
        """A feature map (B, F, H, W) to logits (B, L), in float32 even under autocast."""
        features = features.to(self.classifier.weight.dtype)
        # amax after flattening: unlike adaptive max pooling, its backward pass is deterministic on a GPU.
        return super().forward(features.flatten(2).amax(dim=2))
