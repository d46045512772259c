"""The transformer layer that heads share: attention, then two linear maps, each with a residual and a norm after it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class AttentionLayer(nn.Module):
    """state = LN(state + drop(attention)); state = LN(state + drop(W_2 drop(relu(W_1 state)))) (Vaswani et al., 2017).

    What asks, what is asked and what is taken from it are given apart: some heads add positions to the first two and
    not to the third. The weights are asked for in the forward pass, because torch's kernels without them have a
    backward pass on a GPU that does not repeat.

    Args:
        dim: D.
        heads: of the attention; they divide D.
        ff: width between the two linear maps.
        dropout: of the attention's weights, both residuals and between the linear maps.
    """

    def __init__(self, dim: int, heads: int, ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.norm_attention = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, ff)
        self.narrow = nn.Linear(ff, dim)
        self.norm_ff = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, state: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """States and queries (B, L, D), keys and values (B, N, D) to (B, L, D) and weights (B, L, N).

        The weights are averaged over the attention's heads; while training they have had dropout.
        """
        attended, weights = self.attention(queries, keys, values)
        state = self.norm_attention(state + self.dropout(attended))
        hidden = self.dropout(functional.relu(self.widen(state)))
        return self.norm_ff(state + self.dropout(self.narrow(hidden))), weights
