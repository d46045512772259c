"""Class-specific residual attention: Zhu and Wu, "Residual Attention: A Simple but Effective Method", ICCV 2021.

Names carry shapes: B images, H attentions ("heads"), L labels, F channels, N = height x width positions.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from couplet.models.head import Head, HeadInputs

# By number of heads; at infinity the attention is the maximum (the paper's section 3.4).
TEMPERATURES = {
    1: (1.0,),
    2: (1.0, math.inf),
    4: (1.0, 2.0, 4.0, math.inf),
    6: (1.0, 2.0, 3.0, 4.0, 5.0, math.inf),
    8: (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, math.inf),
}


class ResidualAttention(Head):
    """logit_l = sum over h of mean_n s_hln + lam * sum_n softmax_n(T_h s_hln) s_hln, with s_hln = <w_hl, x_n>.

    w_hl = m_hl / |m_hl|, so that only the direction of the trained m counts. lam = 0 and one head is average pooling
    with a normalised classifier.

    Args:
        in_features: F.
        n_labels: L.
        heads: a key of TEMPERATURES.
        lam: weight of the attention's term.
        bias: a trained (L), at 0 until `start_without_information`; False is the source.

    >>> head = ResidualAttention(in_features=8, n_labels=3, heads=2)
    >>> head(torch.zeros(2, 8, 5, 5)).shape, sum(p.numel() for p in head.parameters())
    (torch.Size([2, 3]), 51)
    """

    reads: ClassVar[Literal["vector", "map"]] = "map"
    explains: ClassVar[bool] = True

    def __init__(
        self, in_features: int, n_labels: int, heads: int = 1, lam: float = 0.1, bias: bool = True
    ) -> None:
        super().__init__()
        self.lam, self.temperatures = lam, TEMPERATURES[heads]
        bound = 1 / math.sqrt(in_features)  # a 1 x 1 convolution's own start
        self.weight = nn.Parameter(torch.empty(heads, n_labels, in_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(n_labels)) if bias else None

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> ResidualAttention:
        """Build it from settings/heads/csra.py."""
        return cls(inputs.in_features, inputs.n_labels, **settings.model_dump())

    def start_without_information(self, logits: Tensor) -> None:
        """Start the bias there."""
        if self.bias is not None:
            with torch.no_grad():
                self.bias.copy_(logits)

    def explain(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and maps (B, L, H, W): s summed over the heads, so that at lam = 0 a map's mean is the logit."""
        logits, scores_BHLN = self._scores(features)
        return logits, {"maps": scores_BHLN.sum(dim=1).unflatten(-1, features.shape[2:])}

    def forward(self, features: Tensor) -> Tensor:
        """A feature map (B, F, H, W) to logits (B, L), in float32 even under autocast."""
        return self._scores(features)[0]

    def _scores(self, features: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(features.device.type, enabled=False):
            features_BFN = features.to(self.weight.dtype).flatten(2)
            directions = functional.normalize(self.weight, dim=-1)
            scores_BHLN = torch.einsum("hlf,bfn->bhln", directions, features_BFN)
            logits = scores_BHLN.mean(dim=-1).sum(dim=1)
            for scores_BLN, temperature in zip(scores_BHLN.unbind(dim=1), self.temperatures, strict=True):
                if temperature == math.inf:
                    attended = scores_BLN.amax(dim=-1)
                else:
                    attended = ((temperature * scores_BLN).softmax(dim=-1) * scores_BLN).sum(dim=-1)
                logits = logits + self.lam * attended
            return (logits if self.bias is None else logits + self.bias), scores_BHLN


HEAD = ResidualAttention
