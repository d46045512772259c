"""ML-Decoder (Ridnik et al., WACV 2023): fixed queries attend to all positions, one transformer layer.

Up to `groups` labels have a query each; of more labels, several share one.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from couplet.settings.schema.section import OWN_PAPER, Section


class Settings(Section):
    """Sizes of the layer and of the queries."""

    READS_DROPOUT: ClassVar[bool] = False
    """Whether the head reads model.dropout."""

    dim: int = Field(768, ge=1, description="width D of queries and positions", json_schema_extra=OWN_PAPER)
    groups: int = Field(
        100, ge=1, description="most queries; of more labels, several share one", json_schema_extra=OWN_PAPER
    )
    heads: int = Field(8, ge=1, description="of the attention; they divide dim", json_schema_extra=OWN_PAPER)
    ff: int = Field(
        2048, ge=1, description="width between the layer's linear maps", json_schema_extra=OWN_PAPER
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="in the layer, its attention included", json_schema_extra=OWN_PAPER
    )

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if self.dim % self.heads:
            raise ValueError(
                f"model.head_args.heads = {self.heads} does not divide model.head_args.dim = {self.dim}: change one"
            )
        return self

    def maps_mean(self) -> str:
        """What the maps of `explain` are, for the report."""
        return "A label’s attention to each position, averaged over the attention’s heads; it sums to 1."
