"""ML-GCN (Chen et al., CVPR 2019): classifiers made by a graph of labels that occur together, over max pooling.

The paper embeds labels by GloVe's vectors of their names, which couplet does not hold; here every label is a vector of
its own, which the authors found to be little worse (their Fig. 4).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from couplet.settings.schema.section import COUPLET, DIFFERS, OWN_PAPER, Section


class Settings(Section):
    """The two graph convolutions, and what they start from."""

    READS_DROPOUT: ClassVar[bool] = False
    """Whether the head reads model.dropout."""

    hidden: int = Field(
        1024, ge=1, description="width between the two graph convolutions", json_schema_extra=OWN_PAPER
    )
    embedding: Literal["one_hot"] = Field(
        "one_hot",
        description="what labels start from; GloVe's vectors, the paper's, cannot be had offline",
        json_schema_extra=DIFFERS,
    )
    bias: bool = Field(
        True,
        description="a trained bias per label, from its best constant on; the source has none",
        json_schema_extra=COUPLET,
    )

    def maps_mean(self) -> str:
        """What the maps of `explain` are, for the report."""
        return "What a label’s classifier scores at each position; the logit takes every channel’s maximum instead."
