"""Global max pooling, dropout and a linear layer: a baseline of the second paper's table, without settings.

The ResNet-101 that ML-GCN (Chen et al., CVPR 2019) starts from.
"""

from __future__ import annotations

from typing import ClassVar

from couplet.settings.schema.section import Section


class Settings(Section):
    """Nothing: `model.dropout` is all that it reads."""

    LEVELS: ClassVar[tuple[str, ...]] = ("cascade", "ag_cnn")
    """Kinds of model.levels that it is defined for."""
