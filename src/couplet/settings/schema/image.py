"""Settings of images: `image` in params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from couplet.settings.schema.section import COUPLET, PAPER_1, Section

Codec = Literal["raw", "jpeg"]
Rendering = Literal["voi", "minmax", "equalize"]


class ImageParams(Section):
    """Sizes of images, in pixels, and how they are stored."""

    size: int = Field(380, ge=32, description="side of what the network sees", json_schema_extra=PAPER_1)
    store_size: int = Field(
        416,
        ge=32,
        description="side of what is kept, at least size; crops are taken from it",
        json_schema_extra=COUPLET,
    )
    channels: Literal[1, 3] = Field(
        1, description="1: grey pictures (X-rays), 3: colour", json_schema_extra=COUPLET
    )
    codec: Codec = Field(
        "raw",
        description="how pixels are kept; raw: exact, jpeg: a fifth of the space",
        json_schema_extra=COUPLET,
    )
    dicom: Rendering = Field(
        "voi",
        description="how grey values of DICOM become 8 bits (of other files: how their makers did it); voi: by window",
        json_schema_extra=COUPLET,
    )

    @model_validator(mode="after")
    def _check(self) -> ImageParams:
        if self.store_size < self.size:
            raise ValueError("image.store_size must be at least image.size: views are never enlarged")
        return self
