"""ML-GCN: Chen et al., "Multi-Label Image Recognition with Graph Convolutional Networks", CVPR 2019.

Names carry shapes: B images, L labels, E width of a label's embedding, D hidden width, F channels.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from couplet.models.head import Head, HeadInputs
from couplet.models.label_graph import cooccurrence_adjacency


class LabelGCN(Head):
    """logits = GMP(x) C^T with the classifiers C = A_s lrelu_0.2(A_s E W_1) W_2.

    A_s is the fixed graph of labels that occur together in the training fold (threshold 0.4, strength 0.25), E the
    fixed embeddings of the labels. W_1 and W_2 start uniform(+-1/sqrt(columns)), as released.

    Args:
        in_features: F.
        embedding: E (L, E).
        adjacency: A_s (L, L).
        hidden: D.
        bias: a trained (L), at 0 until `start_without_information`; False is the source.

    >>> head = LabelGCN(in_features=8, embedding=torch.eye(3), adjacency=torch.eye(3), hidden=4)
    >>> head(torch.zeros(2, 8, 5, 5)).shape, sum(p.numel() for p in head.parameters())
    (torch.Size([2, 3]), 47)
    """

    reads: ClassVar[Literal["vector", "map"]] = "map"
    explains: ClassVar[bool] = True
    embedding: Tensor
    adjacency: Tensor

    def __init__(
        self, in_features: int, embedding: Tensor, adjacency: Tensor, hidden: int = 1024, bias: bool = True
    ) -> None:
        super().__init__()
        self.register_buffer("embedding", embedding)
        self.register_buffer("adjacency", adjacency)

        def drawn(rows: int, columns: int) -> nn.Parameter:
            bound = 1 / math.sqrt(columns)
            return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))

        self.weight_1 = drawn(embedding.shape[1], hidden)
        self.weight_2 = drawn(hidden, in_features)
        self.bias = nn.Parameter(torch.zeros(len(embedding))) if bias else None

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> LabelGCN:
        """Build it from settings/heads/ml_gcn.py; without the training fold's labels the graph waits for a file's."""
        truth = np.eye(inputs.n_labels) if inputs.train_truth is None else inputs.train_truth
        graph = cooccurrence_adjacency(truth)
        return cls(inputs.in_features, torch.eye(inputs.n_labels), graph, settings.hidden, settings.bias)

    @classmethod
    def asks_for_truth(cls, settings: Any) -> bool:
        """The graph is made of them."""
        return True

    def start_without_information(self, logits: Tensor) -> None:
        """Start the bias there."""
        if self.bias is not None:
            with torch.no_grad():
                self.bias.copy_(logits)

    def classifiers(self) -> Tensor:
        """C (L, F)."""
        hidden_LD = functional.leaky_relu(self.adjacency @ (self.embedding @ self.weight_1), 0.2)
        return self.adjacency @ (hidden_LD @ self.weight_2)

    def explain(self, features: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and maps (B, L, H, W): <c_l, x_n>."""
        with torch.autocast(features.device.type, enabled=False):
            maps = torch.einsum("lf,bfhw->blhw", self.classifiers(), features.to(self.weight_2.dtype))
        return self(features), {"maps": maps}

    def forward(self, features: Tensor) -> Tensor:
        """A feature map (B, F, H, W) to logits (B, L), in float32 even under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            pooled_BF = features.to(self.weight_2.dtype).flatten(2).amax(dim=2)
            return functional.linear(pooled_BF, self.classifiers(), self.bias)


HEAD = LabelGCN
