"""Query2Label (Liu et al., 2021): trained label queries attend to an encoded map, as in DETR.

The defaults are a tenth of the paper's size, whose 151 million parameters outweigh any backbone here: for it dim 2048,
ff 8192 and 4 heads.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from couplet.settings.schema.section import DIFFERS, OWN_PAPER, Section


class Settings(Section):
    """Sizes and numbers of the layers."""

    READS_DROPOUT: ClassVar[bool] = False
    """Whether the head reads model.dropout."""

    dim: int = Field(
        512,
        ge=2,
        description="width D of queries and positions; the paper's: 2048",
        json_schema_extra=DIFFERS,
    )
    ff: int = Field(
        2048,
        ge=1,
        description="width between a layer's linear maps; the paper's: 8192",
        json_schema_extra=DIFFERS,
    )
    heads: int = Field(
        8, ge=1, description="of the attention; they divide dim; the paper's: 4", json_schema_extra=DIFFERS
    )
    encoder_layers: int = Field(
        1, ge=0, description="layers among the positions", json_schema_extra=OWN_PAPER
    )
    decoder_layers: int = Field(
        2, ge=1, description="layers from the labels to the positions", json_schema_extra=OWN_PAPER
    )
    self_attention: bool = Field(
        False,
        description="labels attend to each other before each decoder layer",
        json_schema_extra=OWN_PAPER,
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="in every layer, its attention included", json_schema_extra=OWN_PAPER
    )

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if self.dim % 2:
            raise ValueError(
                f"model.head_args.dim = {self.dim} is odd: half of it is for rows, half for columns; make it even"
            )
        if self.dim % self.heads:
            raise ValueError(
                f"model.head_args.heads = {self.heads} does not divide model.head_args.dim = {self.dim}: change one"
            )
        return self

    def maps_mean(self) -> str:
        """What the maps of `explain` are, for the report."""
        return (
            "A label’s attention to each position in the last layer, averaged over its heads; it sums to 1."
        )
