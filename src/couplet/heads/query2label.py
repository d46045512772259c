"""Query2Label: Liu et al., "Query2Label: A Simple Transformer Way to Multi-Label Classification", 2021.

Names carry shapes: B images, L labels, F channels, D width, N = H x W positions.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from couplet.models.head import Head, HeadInputs
from couplet.models.transformer import AttentionLayer


class SelfAttention(nn.Module):
    """t = LN(t + drop(MHA(t + E, t + E; t))): labels among each other."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, state_BLD: Tensor, queries_LD: Tensor) -> Tensor:
        """States (B, L, D) to (B, L, D)."""
        placed = state_BLD + queries_LD
        return self.norm(state_BLD + self.dropout(self.attention(placed, placed, state_BLD)[0]))


class Query2Label(Head):
    """Positions among each other, then labels from positions; each label's own linear map makes its logit.

    m = W x_n + b if F != D else x_n; encoder layers attend with m + P, P the sine positions; decoder layers start from
    t = 0 and attend with t + E to m + P, E (L, D) the trained queries; logit_l = <w_l, LN(t_l)> + b_l.

    Args:
        in_features: F.
        n_labels: L.
        dim: D, even.
        ff, heads, dropout: of each layer.
        encoder_layers, decoder_layers: how many.
        self_attention: labels attend to each other before each decoder layer; the released models leave that out.

    >>> head = Query2Label(in_features=8, n_labels=3, dim=4, ff=6, heads=2)
    >>> head(torch.zeros(2, 8, 3, 4)).shape
    torch.Size([2, 3])
    """

    reads: ClassVar[Literal["vector", "map"]] = "map"
    explains: ClassVar[bool] = True

    def __init__(
        self,
        in_features: int,
        n_labels: int,
        dim: int = 512,
        ff: int = 2048,
        heads: int = 8,
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        self_attention: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.project = nn.Linear(in_features, dim) if in_features != dim else nn.Identity()

        def layers(n: int) -> nn.ModuleList:
            return nn.ModuleList(AttentionLayer(dim, heads, ff, dropout) for _ in range(n))

        self.encoder, self.decoder = layers(encoder_layers), layers(decoder_layers)
        n_self = decoder_layers if self_attention else 0
        self.among_labels = nn.ModuleList(SelfAttention(dim, heads, dropout) for _ in range(n_self))
        for part in (self.encoder, self.decoder, self.among_labels):
            for parameter in part.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
        self.norm = nn.LayerNorm(dim)
        self.queries = nn.Parameter(torch.randn(n_labels, dim))
        bound = 1 / math.sqrt(dim)
        self.out_weight = nn.Parameter(torch.empty(n_labels, dim).uniform_(-bound, bound))
        self.out_bias = nn.Parameter(torch.empty(n_labels).uniform_(-bound, bound))

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> Query2Label:
        """Build it from settings/heads/query2label.py."""
        return cls(inputs.in_features, inputs.n_labels, **settings.model_dump())

    def start_without_information(self, logits: Tensor) -> None:
        """Start the bias there."""
        with torch.no_grad():
            self.out_bias.copy_(logits)

    def explain(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and maps (B, L, H, W): a label's attention in the last layer, averaged over its heads."""
        logits, weights_BLN = self._decode(features)
        return logits, {"maps": weights_BLN.unflatten(-1, features.shape[2:])}

    def forward(self, features: Tensor) -> Tensor:
        """A feature map (B, F, H, W) to logits (B, L), in float32 even under autocast."""
        return self._decode(features)[0]

    def _decode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(features.device.type, enabled=False):
            map_BNF = features.to(self.out_bias.dtype).flatten(2).transpose(1, 2)
            memory_BND: Tensor = self.project(map_BNF)
            height, width = features.shape[2:]
            positions_ND = sine_positions(height, width, memory_BND.shape[2], memory_BND.device).to(
                memory_BND.dtype
            )
            for layer in self.encoder:
                placed = memory_BND + positions_ND
                memory_BND, _ = layer(memory_BND, placed, placed, memory_BND)
            placed = memory_BND + positions_ND
            state_BLD = torch.zeros_like(self.queries).expand(features.shape[0], -1, -1)
            for index, layer in enumerate(self.decoder):
                if len(self.among_labels):
                    state_BLD = self.among_labels[index](state_BLD, self.queries)
                state_BLD, weights_BLN = layer(state_BLD, state_BLD + self.queries, placed, memory_BND)
            return (self.norm(state_BLD) * self.out_weight).sum(dim=-1) + self.out_bias, weights_BLN


def sine_positions(height: int, width: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Positions P (H W, D) of DETR (Carion et al., ECCV 2020): D/2 channels of the row, then D/2 of the column.

    At row r = 1..H channel i has the angle 2 pi r / (H + 1e-6) / 10000^(2 floor(i / 2) / (D / 2)): its sine where i is
    even, its cosine where i is odd. Float64, for any height and width.
    """
    channel = torch.arange(dim // 2, dtype=torch.float64, device=device)
    scale = 10000 ** (2 * (channel // 2) / (dim // 2))

    def along(n: int) -> Tensor:
        place = torch.arange(1, n + 1, dtype=torch.float64, device=device) * (2 * math.pi / (n + 1e-6))
        angle = place[:, None] / scale
        return torch.where(channel % 2 == 0, angle.sin(), angle.cos())

    rows = along(height)[:, None].expand(-1, width, -1)
    columns = along(width)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


HEAD = Query2Label
