"""Average pooling, dropout and a linear layer: the first paper's classifier, without settings of its own."""

from __future__ import annotations

from couplet.settings.schema.section import Section


class Settings(Section):
    """Nothing: `model.dropout` is all that it reads."""
