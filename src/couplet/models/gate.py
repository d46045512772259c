"""Couplings that depend on the image: how loudly each label speaks, from the features of the picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SourceGate(nn.Module):
    """g(x) = 2 sigmoid(V h(x) + c), a factor between 0 and 2 per image and source label. Our own reading.

    So the couplings of an image are A_ij(x) = g_i(x) A_ij: which source speaks is conditional, not each edge. V and c
    start at zero, where g is exactly 1. Since g is bounded, nothing of A can hide in it from the penalty on |A|.

    Args:
        in_features: F, channels of the backbone's features.
        n_labels: L.

    >>> SourceGate(in_features=3, n_labels=2)(torch.ones(1, 3))
    tensor([[1., 1.]], grad_fn=<MulBackward0>)
    """

    def __init__(self, in_features: int, n_labels: int) -> None:
        super().__init__()
        self.V = nn.Parameter(torch.zeros(n_labels, in_features))
        self.c = nn.Parameter(torch.zeros(n_labels))

    def forward(self, features: Tensor) -> Tensor:
        """Pooled features (B, F), or a feature map (B, F, H, W), of which the mean counts, to g (B, L) in float32."""
        features = features.to(self.V.dtype)
        pooled = features.mean(dim=(2, 3)) if features.dim() == 4 else features
        return 2 * torch.sigmoid(nn.functional.linear(pooled, self.V, self.c))
