"""Dual-branch dynamic graph convolution: the second paper's head (docs/papers.md); beta = 0 is ADD-GCN.

What paper 2 leaves open follows ADD-GCN (Ye et al., ECCV 2020), whose lineage it is.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import PAPER_2, Fraction, Section


class Settings(Section):
    """Settings of both branches, of the attention module and of the static graph."""

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
