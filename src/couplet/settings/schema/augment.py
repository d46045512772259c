"""Settings of the training view: `augment` in params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from couplet.settings.schema.section import (
    BOTH_PAPERS,
    OWN_PAPER,
    PAPER_1,
    Fraction,
    Idle,
    Positive,
    Section,
    not_read,
)


class AugmentParams(Section):
    """The training view: one affine resampling per image."""

    crop: Literal["random_resized", "multi_scale", "none"] = Field(
        "random_resized",
        description="random_resized (paper 1), multi_scale (paper 2), none",
        json_schema_extra=BOTH_PAPERS,
    )
    scale_min: float = Field(
        0.84, gt=0, le=1, description="smallest share of the area (random_resized)", json_schema_extra=PAPER_1
    )
    scale_max: float = Field(
        1.0, gt=0, le=1, description="largest share of the area (random_resized)", json_schema_extra=PAPER_1
    )
    ratio_min: Positive = Field(
        0.75, description="smallest width / height (random_resized)", json_schema_extra=PAPER_1
    )
    ratio_max: Positive = Field(
        4 / 3, description="largest width / height (random_resized)", json_schema_extra=PAPER_1
    )
    flip: Fraction = Field(0.5, description="probability of a horizontal flip", json_schema_extra=PAPER_1)
    rotation: float = Field(
        10.0, ge=0, le=180, description="largest angle, in degrees either way", json_schema_extra=PAPER_1
    )
    translate: Fraction = Field(
        0.0,
        description="largest shift across and down, share of the side",
        json_schema_extra=OWN_PAPER,
    )
    brightness: Fraction = Field(
        0.0,
        description="largest change of brightness (0.05: factor 0.95 to 1.05)",
        json_schema_extra=PAPER_1,
    )
    contrast: Fraction = Field(0.0, description="largest change of contrast", json_schema_extra=PAPER_1)

    @model_validator(mode="after")
    def _check(self) -> AugmentParams:
        for low, high in (("scale_min", "scale_max"), ("ratio_min", "ratio_max")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(
                    f"augment.{low} = {getattr(self, low)} is above augment.{high} = {getattr(self, high)}"
                )
        return self

    def idle(self) -> list[Idle]:
        """Bounds of a random resized crop where another crop, or none, is taken."""
        if self.crop == "random_resized":
            return []
        bounds = ("scale_min", "scale_max", "ratio_min", "ratio_max")
        return [
            not_read(f"augment.{key}", getattr(self, key), f"augment.crop is {self.crop}") for key in bounds
        ]
