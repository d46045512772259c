"""Attention pooling and a perceptron: Xiong et al., Informatics 12(3), 2025 (CONVFCMAE), as its abstract defines it.

Names carry shapes: B images, F channels, N = height x width positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from couplet.models.head import HeadInputs
from couplet.models.perceptron import PerceptronHead


class AttentionHead(PerceptronHead):
    """v = sum_n softmax(q)_n x_n with q = Conv1x1(F -> 1)(X); u = v + W_o (W_v v + b_v) + b_o; a perceptron of u.

    The paper recalibrates channels by multi-head self-attention with a residual. Of one vector that is W_o W_v v
    whatever its heads are, so queries and keys, which would have no gradient, are left out.

    >>> head = AttentionHead(in_features=1024, n_labels=14, hidden=[512])
    >>> sum(parameter.numel() for parameter in head.parameters())
    2633231
    """

    reads: ClassVar[Literal["vector", "map"]] = "map"
    explains: ClassVar[bool] = True

    def __init__(
        self, in_features: int, n_labels: int, hidden: Sequence[int] = (), dropout: float = 0.0
    ) -> None:
        super().__init__(in_features, n_labels, hidden, dropout)
        self.attention = nn.Linear(in_features, 1)
        self.value = nn.Linear(in_features, in_features)
        self.out = nn.Linear(in_features, in_features)

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> AttentionHead:
        """Build it from settings/heads/attention.py and model.dropout."""
        return cls(inputs.in_features, inputs.n_labels, settings.hidden, inputs.dropout)

    def explain(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and maps (B, L, H, W): the attention to each position, the same for every label."""
        weights_BN = self.pool(features)[1]
        maps = weights_BN.unflatten(-1, features.shape[2:])[:, None]
        return self(features), {"maps": maps.expand(-1, self.classifier.out_features, -1, -1)}

    def pool(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """A feature map (B, F, H, W) to v (B, F) and the attention (B, N)."""
        with torch.autocast(features.device.type, enabled=False):
            places_BNF = features.to(self.value.weight.dtype).flatten(2).transpose(1, 2)
            weights_BN = self.attention(places_BNF)[..., 0].softmax(dim=-1)
            return torch.einsum("bn,bnf->bf", weights_BN, places_BNF), weights_BN

    def vector(self, features: Tensor) -> Tensor:
        """u (B, F), float32, of a feature map (B, F, H, W)."""
        with torch.autocast(features.device.type, enabled=False):
            pooled_BF, _ = self.pool(features)
            return pooled_BF + self.out(self.value(pooled_BF))


HEAD = AttentionHead
