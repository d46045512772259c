"""Binary cross-entropy corrected for labels that are missing or flipped at known rates (forward correction)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from couplet.settings.schema.section import COUPLET, Section

Rate = Annotated[float, Field(ge=0, lt=1)]


class Settings(Section):
    """How the labels that one has came of those that one wants."""

    missing_rate: Rate | list[Rate] = Field(
        0.0,
        description="share of a label's positives that the table calls negative; a list has a rate per label, in order",
        json_schema_extra=COUPLET,
    )
    # At 1/2 a label would say nothing.
    flip_rate: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="share of labels that are the other one, after the missing ones",
        json_schema_extra=COUPLET,
    )
