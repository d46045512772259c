"""Settings of calibrated probabilities: `calibration` in params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import COUPLET, Idle, Section, not_read

Method = Literal["beta", "inverse", "none"]


class CalibrationParams(Section):
    """How predicted probabilities become calibrated; predictions and rankings per label stay as they are."""

    method: Method = Field(
        "beta",
        description="beta: fitted out of fold with the loss's inverse as prior; inverse: that alone; none: raw",
        json_schema_extra=COUPLET,
    )
    sharpen: bool = Field(
        True,
        description="correct the ensemble's mean, which is less sure than its members are, by their disagreement",
        json_schema_extra=COUPLET,
    )

    def idle(self) -> list[Idle]:
        """The correction of an ensemble that nothing calibrates."""
        if self.method != "none":
            return []
        return [not_read("calibration.sharpen", self.sharpen, "calibration.method is none")]
