"""The hidden layers that several heads put before their classifier."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from couplet.models.head import ClassifierHead


class PerceptronHead(ClassifierHead):
    """Hidden layers of Linear, ReLU, BatchNorm and dropout, in the order that the papers name, then a linear one.

    Args:
        in_features: F.
        n_labels: L.
        hidden: widths of the hidden layers; with none, dropout and the classifier are `linear`.
        dropout: after each hidden layer.
    """

    def __init__(
        self, in_features: int, n_labels: int, hidden: Sequence[int] = (), dropout: float = 0.0
    ) -> None:
        super().__init__(hidden[-1] if hidden else in_features, n_labels, dropout)
        widths = [in_features, *hidden]
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(wide, narrow), nn.ReLU(), nn.BatchNorm1d(narrow))
                for wide, narrow in pairwise(widths)
            )
        )

    def classify(self, vector_BF: Tensor) -> Tensor:
        """A vector per image (B, F) to logits (B, L), in float32 even under autocast."""
        with torch.autocast(vector_BF.device.type, enabled=False):
            for layer in self.hidden:
                vector_BF = self.dropout(layer(vector_BF))
            # Dropout after the last layer is dropout before the classifier.
            return self.classifier(vector_BF if len(self.hidden) else self.dropout(vector_BF))
