"""Settings of prediction: `inference` in params.yaml."""

from __future__ import annotations

from pydantic import Field

from couplet.settings.schema.section import PAPER_1, Section


class InferenceParams(Section):
    """Prediction."""

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
