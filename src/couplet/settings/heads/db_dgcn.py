"""Dual-branch dynamic graph convolution: the second paper's head (docs/papers.md); beta = 0 is ADD-GCN.

What paper 2 leaves open follows ADD-GCN (Ye et al., ECCV 2020), whose lineage it is.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from couplet.settings.schema.section import PAPER_2, Fraction, Idle, Section, not_read


class Settings(Section):
    """Settings of both branches, of the attention module and of the static graph."""

    READS_DROPOUT: ClassVar[bool] = False
    """Whether the head reads model.dropout."""

    dim: int = Field(1024, ge=1, description="width D of a label's representation", json_schema_extra=PAPER_2)
    beta: Fraction = Field(
        0.5, description="weight of the auxiliary branch; 0 leaves ADD-GCN", json_schema_extra=PAPER_2
    )
    omega: Fraction = Field(
        0.5, description="weight of the attention module's own score", json_schema_extra=PAPER_2
    )
    pool: Literal["max", "mean", "lse"] = Field(
        "max", description="how maps become the attention's score", json_schema_extra=PAPER_2
    )
    normalize: bool = Field(
        False,
        description="attention and dynamic graphs sum to 1; true for X-rays and AMP",
        json_schema_extra=PAPER_2,
    )
    share_dynamic: bool = Field(
        False, description="both branches use one dynamic graph's weights", json_schema_extra=PAPER_2
    )
    static_init: Literal["cooccurrence", "random"] = Field(
        "cooccurrence",
        description="start of the static graph: the training fold's co-occurrence, or random",
        json_schema_extra=PAPER_2,
    )
    static_trainable: bool = Field(
        True, description="whether the static graph is trained", json_schema_extra=PAPER_2
    )

    def maps_mean(self) -> str:
        """What the maps of `explain` are, for the report."""
        return f"The attention module scores a label by this map before the sigmoid ({self.pool} over positions)."

    def idle(self) -> list[Idle]:
        """Settings of a branch, or of a score, whose weight is 0."""
        own = "model.head_args."
        if self.omega == 1:
            why = "the graphs have no weight, and none of their settings changes a logit"
            return [Idle((f"{own}omega",), f"{own}omega = {self.omega}: {why}")]
        unread = {
            f"{own}omega is 0": ["pool"] if self.omega == 0 else [],
            f"{own}beta is 0": ["share_dynamic"] if self.beta == 0 else [],
            # A shared graph's BatchNorm sees the main branch too, whatever its weight.
            f"{own}beta is 1": ["static_init", "static_trainable"]
            if self.beta == 1 and not self.share_dynamic
            else [],
        }
        return [
            not_read(f"{own}{key}", getattr(self, key), why) for why, keys in unread.items() for key in keys
        ]
