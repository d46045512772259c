"""A perceptron over pooled features, each layer linear, ReLU, BatchNorm and dropout: Kufel et al. (2023).

The order of the parts is that of its abstract, the width of its layer is not stated.
Without hidden layers it is `linear`.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from couplet.settings.schema.section import OWN_PAPER, Section, Width


class Settings(Section):
    """The hidden layers."""

    LEVELS: ClassVar[tuple[str, ...]] = ("cascade",)
    """Kinds of model.levels that it is defined for."""

    READS_METADATA: ClassVar[bool] = True
    """Whether model.metadata is read beside the pooled features."""

    hidden: list[Width] = Field(
        [], description="widths of the hidden layers, in order", json_schema_extra=OWN_PAPER
    )
