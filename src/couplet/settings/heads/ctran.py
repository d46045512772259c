"""C-Tran (Lanchantin et al., CVPR 2021): a transformer over positions and labels, some of which it may be told.

While training each image tells a random number of its labels, and the others are scored; in prediction none is told.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from couplet.settings.schema.section import OWN_PAPER, Fraction, Section


class Settings(Section):
    """The encoder, as wide as the backbone's features, and how many labels are told."""

    READS_DROPOUT: ClassVar[bool] = False
    """Whether the head reads model.dropout."""

    layers: int = Field(
        3, ge=1, description="encoder layers, as wide as the features", json_schema_extra=OWN_PAPER
    )
    heads: int = Field(
        4, ge=1, description="of the attention; they divide the features", json_schema_extra=OWN_PAPER
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="in every layer, its attention included", json_schema_extra=OWN_PAPER
    )
    told: Fraction = Field(
        0.75,
        description="largest share of the labels that a training image tells; 0: none",
        json_schema_extra=OWN_PAPER,
    )
