"""Settings of the data set: `data` in params.yaml."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from couplet.settings.schema.external import ExternalParams
from couplet.settings.schema.section import COUPLET, DIFFERS, PAPER_1, Fraction, Idle, Section
from couplet.settings.schema.sources import Policy, Source


class DataParams(Section):
    """Which data set is read, and what its unknown labels mean."""

    source: Source = Field(
        "grand_xray_slam", description="adapter that reads data/raw/<source>", json_schema_extra=PAPER_1
    )
    source_args: dict[str, Any] = Field(
        {}, description="the adapter's own settings, docs/datasets.md", json_schema_extra=COUPLET
    )
    uncertain: Policy | dict[str, Policy] = Field(
        "ignore",
        description="labels marked -1: ignore (masked), zeros or ones; or one of them per label",
        json_schema_extra=DIFFERS,
    )
    unmentioned: Policy = Field(
        "ignore",
        description="blank label cells: ignore (masked), zeros or ones",
        json_schema_extra=DIFFERS,
    )
    max_unreadable: Fraction = Field(
        0.001, description="share of images that may be quarantined", json_schema_extra=DIFFERS
    )
    external: ExternalParams = Field(
        ExternalParams(), description="another data set, to test on: the models never see it in training"
    )

    @model_validator(mode="after")
    def _external_is_another(self) -> DataParams:
        if self.external.given and self.external.raw == self.source:
            raise ValueError(
                f"data.external would read data/raw/{self.source}, which is the data set itself: set "
                "data.external.folder to the name of another folder in data/raw"
            )
        return self

    def idle(self) -> list[Idle]:
        """Those of the external test."""
        return self.external.idle()
