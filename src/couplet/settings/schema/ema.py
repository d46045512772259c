"""Settings of the averaged weights: `ema` in params.yaml."""

from __future__ import annotations

from pydantic import Field

from couplet.settings.schema.section import DIFFERS, PAPER_1, Idle, Section, not_read


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

    def idle(self) -> list[Idle]:
        """The decay of an average that is not taken, or that forgets everything."""
        if not self.enabled:
            return [not_read("ema.decay", self.decay, "ema.enabled is false")]
        last = "the averaged weights are the last step's, as with ema.enabled: false"
        return [] if self.decay else [Idle(("ema.decay",), f"ema.decay = {self.decay}: {last}")]
