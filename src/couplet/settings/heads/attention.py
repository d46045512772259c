"""Attention over positions, a residual linear pair and a perceptron: Xiong et al. (2025, CONVFCMAE).

Its "multi-head self-attention" of one pooled vector gives every head the weight 1: two linear maps are left of it.
"""

from __future__ import annotations

from pydantic import Field

from couplet.settings.schema.section import OWN_PAPER, Section, Width


class Settings(Section):
    """The hidden layers after the attention."""

    hidden: list[Width] = Field(
        [], description="widths of the hidden layers, in order", json_schema_extra=OWN_PAPER
    )

    def maps_mean(self) -> str:
        """What the maps of `explain` are, for the report."""
        return "The head’s attention to each position, the same for every label; it sums to 1."
