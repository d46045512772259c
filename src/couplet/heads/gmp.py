"""The second paper's ResNet-101 GMP baseline: global max pooling, then dropout and one linear layer."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from couplet.models.head import ClassifierHead


class MaxPoolHead(ClassifierHead):
    """Global max pooling before dropout and the linear layer."""

    reads: ClassVar[Literal["vector", "map"]] = "map"

    def vector(self, features: Tensor) -> Tensor:
        """The maximum of each channel of a feature map (B, F, H, W): (B, F), float32."""
        # amax after flattening: unlike adaptive max pooling, its backward pass is deterministic on a GPU.
        return features.to(self.classifier.weight.dtype).flatten(2).amax(dim=2)


HEAD = MaxPoolHead
