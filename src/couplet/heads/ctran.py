"""C-Tran: Lanchantin et al., "General Multi-label Image Classification with Transformers", CVPR 2021.

Names carry shapes: B images, L labels, F channels, N positions.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from couplet.models.head import Head, HeadInputs
from couplet.models.transformer import AttentionLayer
from couplet.project.errors import UserError


class CTran(Head):
    """Labels and positions attend to each other; every label's own linear map makes its logit.

    e_l = E_l + S_{state(l)} with the states unknown, negative, positive; t = LN([x_1 .. x_N ; e_1 .. e_L]), then
    encoder layers of width F without positions; logit_l = <w_l, t_{N + l}> + b_l.

    While training, a number of labels is drawn for each image from 0 .. floor(told L), then which: their states are
    known and their cells have no loss. Otherwise all states are unknown.

    Args:
        in_features: F.
        n_labels: L.
        layers, heads, dropout: of the encoder; its linear maps are F wide between, too.
        told: largest share of the labels that a training image tells.

    Raises:
        UserError: `heads` does not divide F.

    >>> head = CTran(in_features=8, n_labels=3, layers=1, heads=2)
    >>> head(torch.zeros(2, 8, 3, 4)).shape
    torch.Size([2, 3])
    """

    reads: ClassVar[Literal["vector", "map"]] = "map"

    def __init__(
        self,
        in_features: int,
        n_labels: int,
        layers: int = 3,
        heads: int = 4,
        dropout: float = 0.1,
        told: float = 0.75,
    ) -> None:
        super().__init__()
        if in_features % heads:
            raise UserError(
                f"model.head_args.heads = {heads} does not divide the {in_features} features of model.backbone: "
                "change one"
            )
        self.most_told = math.floor(told * n_labels)
        bound = 1 / math.sqrt(in_features)

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))

        self.labels = drawn(n_labels, in_features)
        self.states = drawn(3, in_features)
        self.norm = nn.LayerNorm(in_features)
        self.encoder = nn.ModuleList(
            AttentionLayer(in_features, heads, in_features, dropout) for _ in range(layers)
        )
        self.out_weight, self.out_bias = drawn(n_labels, in_features), drawn(n_labels)
        self._told: Tensor | None = None

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> CTran:
        """Build it from settings/heads/ctran.py."""
        return cls(inputs.in_features, inputs.n_labels, **settings.model_dump())

    def start_without_information(self, logits: Tensor) -> None:
        """Start the bias there."""
        with torch.no_grad():
            self.out_bias.copy_(logits)

    def shown(self, truth: Tensor) -> Tensor:
        """Draw each image's told labels for the coming forward pass; the cells of the others (B, L) are scored."""
        count_B1 = torch.randint(self.most_told + 1, (len(truth), 1), device=truth.device)
        rank_BL = torch.rand(truth.shape, device=truth.device).argsort(dim=1).argsort(dim=1)
        is_told = rank_BL < count_B1
        self._told = truth.masked_fill(~is_told, torch.nan)
        return truth.masked_fill(is_told, torch.nan)

    def forward(self, features: Tensor) -> Tensor:
        """A feature map (B, F, H, W) to logits (B, L), in float32 even under autocast."""
        told, self._told = self._told, None
        return self.given(features, told if self.training else None)

    def given(self, features: Tensor, known: Tensor | None = None) -> Tensor:
        """Logits (B, L) given labels `known` (B, L) of 1, 0 or NaN; None: nothing is known."""
        with torch.autocast(features.device.type, enabled=False):
            map_BNF = features.to(self.labels.dtype).flatten(2).transpose(1, 2)
            if known is None:
                known = map_BNF.new_full((features.shape[0], len(self.labels)), torch.nan)
            unknown_BL1, known_BL1 = known.isnan()[..., None], known.nan_to_num()[..., None] > 0
            unknown_F, negative_F, positive_F = self.states
            state_BLF = torch.where(unknown_BL1, unknown_F, torch.where(known_BL1, positive_F, negative_F))
            tokens_BTF = self.norm(torch.cat([map_BNF, self.labels + state_BLF], dim=1))
            for layer in self.encoder:
                tokens_BTF, _ = layer(tokens_BTF, tokens_BTF, tokens_BTF, tokens_BTF)
            return (tokens_BTF[:, map_BNF.shape[1] :] * self.out_weight).sum(dim=-1) + self.out_bias


HEAD = CTran
