"""The first paper's classifier: dropout and one linear layer over pooled features."""

from __future__ import annotations

from couplet.models.head import ClassifierHead


class LinearHead(ClassifierHead):
    """Pooled features (B, F) to logits (B, L)."""


HEAD = LinearHead
