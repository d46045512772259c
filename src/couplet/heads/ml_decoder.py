"""ML-Decoder: Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head", WACV 2023.

Names carry shapes: B images, G queries ("groups"), L labels, K labels of a query, F channels, D width, N positions.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from couplet.models.head import Head, HeadInputs
from couplet.models.transformer import AttentionLayer


class MLDecoder(Head):
    """One cross-attention layer from fixed queries to all positions, then each query's own linear maps.

    v = relu(W_in x_n + b_in); q = LN(q0 + drop(q0)); q = one `AttentionLayer` from q to v, without self-attention and
    without positions; logit_{g K + k} = <U_gk, q_g> + b. The queries q0 ~ N(0, 1) are never trained.

    Args:
        in_features: F.
        n_labels: L.
        dim: D.
        groups: G is the smaller of this and L; each query answers for K = ceil(L / G) labels, surplus ones are cut.
        heads, ff, dropout: of the layer.

    >>> head = MLDecoder(in_features=8, n_labels=5, dim=4, groups=2, heads=2, ff=6)
    >>> head(torch.zeros(2, 8, 3, 3)).shape, tuple(head.out_weight.shape)
    (torch.Size([2, 5]), (2, 4, 3))
    """

    reads: ClassVar[Literal["vector", "map"]] = "map"
    explains: ClassVar[bool] = True
    queries: Tensor

    def __init__(
        self,
        in_features: int,
        n_labels: int,
        dim: int = 768,
        groups: int = 100,
        heads: int = 8,
        ff: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        groups = min(groups, n_labels)
        self.project = nn.Linear(in_features, dim)
        # A buffer, because weights are loaded into a head that drew others.
        self.register_buffer("queries", torch.randn(groups, dim))
        self.dropout = nn.Dropout(dropout)
        self.norm_queries = nn.LayerNorm(dim)
        self.layer = AttentionLayer(dim, heads, ff, dropout)
        self.out_weight = nn.Parameter(torch.empty(groups, dim, math.ceil(n_labels / groups)))
        nn.init.xavier_normal_(self.out_weight)
        self.out_bias = nn.Parameter(torch.zeros(n_labels))

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> MLDecoder:
        """Build it from settings/heads/ml_decoder.py."""
        return cls(inputs.in_features, inputs.n_labels, **settings.model_dump())

    def start_without_information(self, logits: Tensor) -> None:
        """Start the bias there."""
        with torch.no_grad():
            self.out_bias.copy_(logits)

    def explain(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and maps (B, L, H, W): the attention of a label's query, averaged over the layer's heads."""
        logits, weights_BGN = self._decode(features)
        weights_BLN = weights_BGN.repeat_interleave(self.out_weight.shape[2], dim=1)[:, : len(self.out_bias)]
        return logits, {"maps": weights_BLN.unflatten(-1, features.shape[2:])}

    def forward(self, features: Tensor) -> Tensor:
        """A feature map (B, F, H, W) to logits (B, L), in float32 even under autocast."""
        return self._decode(features)[0]

    def _decode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(features.device.type, enabled=False):
            features_BNF = features.to(self.out_bias.dtype).flatten(2).transpose(1, 2)
            values_BND = functional.relu(self.project(features_BNF))
            start_BGD = self.queries.expand(features.shape[0], -1, -1)
            queries_BGD = self.norm_queries(start_BGD + self.dropout(start_BGD))
            decoded_BGD, weights_BGN = self.layer(queries_BGD, queries_BGD, values_BND, values_BND)
            logits_BGK = torch.einsum("bgd,gdk->bgk", decoded_BGD, self.out_weight)
            return logits_BGK.flatten(1)[:, : len(self.out_bias)] + self.out_bias, weights_BGN


HEAD = MLDecoder
