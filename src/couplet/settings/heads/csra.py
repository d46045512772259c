"""Class-specific residual attention (CSRA, Zhu and Wu, ICCV 2021): the mean of a label's scores and its attention.

Parameters: heads x labels x features, and a bias. lam 0.1 was published for VOC, 0.5 (4 heads) and 0.4 (6 heads) for
COCO, 0.3 for WIDER and vision transformers.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from couplet.settings.schema.section import COUPLET, OWN_PAPER, NotNegative, Section


class Settings(Section):
    """How many attentions, how strong, and whether labels have a bias."""

    READS_DROPOUT: ClassVar[bool] = False
    """Whether the head reads model.dropout."""

    heads: Literal[1, 2, 4, 6, 8] = Field(
        1,
        description="attentions, each with weights and a temperature of its own; the last of several takes the maximum",
        json_schema_extra=OWN_PAPER,
    )
    lam: NotNegative = Field(
        0.1, description="weight of the attention beside the mean", json_schema_extra=OWN_PAPER
    )
    bias: bool = Field(
        True,
        description="a trained bias per label, from its best constant on; the source has none",
        json_schema_extra=COUPLET,
    )

    def maps_mean(self) -> str:
        """What the maps of `explain` are, for the report."""
        return (
            "The head’s scores of a label at each position, whose mean and maximum it weighs into the logit."
        )
