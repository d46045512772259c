"""The second paper's ResNet-101 GMP baseline: global max pooling, then dropout and one linear layer."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from couplet.models.head import ClassifierHead


class MaxPoolHead(ClassifierHead):
    """Global max pooling before dropout and the linear layer."""

    reads: ClassVar[Literal["vector", "map"]] = "map"

    def forward(self, features: Tensor) -> Tensor:
        """A feature map (B, F, H, W) to logits (B, L), in float32 even under autocast."""
        features = features.to(self.classifier.weight.dtype)
        # amax after flattening: unlike adaptive max pooling, its backward pass is deterministic on a GPU.
        return super().forward(features.flatten(2).amax(dim=2))


HEAD = MaxPoolHead
