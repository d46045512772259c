"""Settings of the report: `report` in params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from couplet.settings.schema.section import COUPLET, Section

ALWAYS = ("sex", "age", "view")  # subgroups that need no setting


class ReportParams(Section):
    """The report's own choices; none changes a prediction."""

    groups: list[Annotated[str, Field(min_length=1)]] = Field(
        [],
        description="further columns of the manifest whose values are subgroups, beside sex, age and view",
        json_schema_extra=COUPLET,
    )

    @field_validator("groups")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if known := [name for name in value if name in ALWAYS]:
            raise ValueError(f"report.groups names {known[0]!r}, which is always shown: leave it out")
        if len(set(value)) < len(value):
            raise ValueError(f"report.groups names a column twice: {value}")
        return value
