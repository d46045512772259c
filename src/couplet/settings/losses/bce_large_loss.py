"""Binary cross-entropy that mistrusts the negatives of the largest losses (Kim et al., CVPR 2022)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import COUPLET, Section


class Settings(Section):
    """How many negatives are mistrusted, and what becomes of them."""

    rate: float = Field(
        0.004,
        ge=0,
        lt=1,
        description="share of all cells of a batch, more by this with every epoch after the first",
        json_schema_extra=COUPLET,
    )
    rule: Literal["drop", "flip"] = Field(
        "drop",
        description="drop: no loss (LL-R); flip: the loss of a positive (LL-Ct)",
        json_schema_extra=COUPLET,
    )
