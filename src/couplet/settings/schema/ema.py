"""Settings of the averaged weights: `ema` in params.yaml."""

from __future__ import annotations

from pydantic import Field

from couplet.settings.schema.section import DIFFERS, PAPER_1, Section


class EmaParams(Section):
    """Exponential moving average of the whole predictor, which is what is evaluated and saved."""

    enabled: bool = Field(
        True, description="evaluate and save the averaged weights", json_schema_extra=PAPER_1
    )
    decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="warmed up as min(decay, (1 + t) / (10 + t))",
        json_schema_extra=DIFFERS,
    )
