"""Average pooling, dropout and a linear layer: the first paper's classifier, without settings of its own."""

from __future__ import annotations

from typing import ClassVar

from couplet.settings.schema.section import Section


class Settings(Section):
    """Nothing: `model.dropout` is all that it reads."""

    LEVELS: ClassVar[tuple[str, ...]] = ("cascade", "ag_cnn")
    """Kinds of model.levels that it is defined for."""

    READS_METADATA: ClassVar[bool] = True
    """Whether model.metadata is read beside the pooled features."""
