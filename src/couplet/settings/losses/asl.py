"""Asymmetric loss (Ridnik et al., ICCV 2021), the first paper's choice with these values."""

from __future__ import annotations

from pydantic import Field

from couplet.settings.schema.section import PAPER_1, NotNegative, Section


class Settings(Section):
    """Focusing of either side, and the margin below which a negative costs nothing."""

    gamma_pos: NotNegative = Field(0.0, description="focusing of positives", json_schema_extra=PAPER_1)
    gamma_neg: NotNegative = Field(4.0, description="focusing of negatives", json_schema_extra=PAPER_1)
    clip: float = Field(
        0.05, ge=0, lt=1, description="probability margin of negatives", json_schema_extra=PAPER_1
    )
