"""A perceptron over pooled features: Kufel et al., J. Pers. Med. 13(10), 2023, have one hidden layer."""

from __future__ import annotations

from typing import Any

from couplet.models.head import HeadInputs
from couplet.models.perceptron import PerceptronHead


class MLPHead(PerceptronHead):
    """Pooled features (B, F) to logits (B, L) through hidden layers; BatchNorm needs B > 1 while training.

    >>> head = MLPHead(in_features=1280, n_labels=14, hidden=[512])
    >>> sum(parameter.numel() for parameter in head.parameters())
    664078
    """

    @classmethod
    def from_settings(cls, settings: Any, inputs: HeadInputs) -> MLPHead:
        """Build it from settings/heads/mlp.py and model.dropout."""
        return cls(inputs.in_features, inputs.n_labels, settings.hidden, inputs.dropout)


HEAD = MLPHead
