"""Settings of the external test: `data.external` in params.yaml."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from couplet.settings.schema.section import COUPLET, Idle, Section, not_read
from couplet.settings.schema.sources import Policy, SourceOrNone


class ExternalParams(Section):
    """A data set that nothing is trained or chosen on: it is predicted by every fold's model, and scored."""

    source: SourceOrNone = Field(
        "none",
        description="adapter of a data set that is never trained on, only predicted and scored; none: there is none",
        json_schema_extra=COUPLET,
    )
    folder: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]*)?$",
        description="its folder in data/raw; empty: that of its source",
        json_schema_extra=COUPLET,
    )
    source_args: dict[str, Any] = Field(
        {}, description="that adapter's own settings, docs/datasets.md", json_schema_extra=COUPLET
    )
    label_map: dict[str, Any] = Field(
        {},
        description="our label: their column, or several; empty: the map of label_maps.py, or equal names",
        json_schema_extra=COUPLET,
    )
    part: Literal["all", "test"] = Field(
        "all",
        description="all of its labelled images, or those of its own test part",
        json_schema_extra=COUPLET,
    )
    uncertain: Policy | dict[str, Policy] = Field(
        "ignore", description="as data.uncertain, by its own labels", json_schema_extra=COUPLET
    )
    unmentioned: Policy = Field("ignore", description="as data.unmentioned", json_schema_extra=COUPLET)

    @property
    def given(self) -> bool:
        """Whether there is an external test."""
        return self.source != "none"

    @property
    def raw(self) -> str:
        """The name of its folder in data/raw."""
        return self.folder or self.source

    def idle(self) -> list[Idle]:
        """Without a source nothing of this section is read."""
        if self.given:
            return []
        keys = [key for key in type(self).model_fields if key != "source"]
        return [
            not_read(f"data.external.{key}", getattr(self, key), "data.external.source is none")
            for key in keys
        ]
