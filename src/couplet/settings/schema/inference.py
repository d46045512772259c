"""Settings of prediction: `inference` in params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from couplet.settings.schema.section import COUPLET, PAPER_1, Section

View = Literal["whole", "centre", "five"]


class InferenceParams(Section):
    """Prediction."""

    view: View = Field(
        "whole",
        description="whole: all of the stored picture; centre: its middle of image.size; five: that and its corners, "
        "averaged; also of validation while training",
        json_schema_extra=COUPLET,
    )

    tta: bool = Field(
        True,
        description="average the probabilities of an image and its mirror image",
        json_schema_extra=PAPER_1,
    )
    batch_size: int = Field(
        48,
        ge=1,
        description="images per step of prediction; validation while training takes train.batch_size",
        json_schema_extra=PAPER_1,
    )
    unscored: list[Annotated[str, Field(min_length=1)]] = Field(
        [],
        description="labels that are trained and predicted, but in no mean over labels and not in an epoch's choice",
        json_schema_extra=COUPLET,
    )

    @field_validator("unscored")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError(f"inference.unscored names a label twice: {value}")
        return value
