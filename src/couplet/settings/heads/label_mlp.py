"""A perceptron of its own for every label, over pooled features: Taslimi et al. (2022, SwinCheX).

Without hidden layers it is `linear` without dropout.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from couplet.settings.schema.section import OWN_PAPER, Section, Width


class Settings(Section):
    """The hidden layers of each label's perceptron."""

    READS_DROPOUT: ClassVar[bool] = False
    """Whether the head reads model.dropout."""
    READS_METADATA: ClassVar[bool] = True
    """Whether model.metadata is read beside the pooled features."""

    hidden: list[Width] = Field(
        [], description="widths of each label's hidden layers, in order", json_schema_extra=OWN_PAPER
    )
