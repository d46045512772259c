"""Several data sets as one, which `couplet.datasets.combined` reads."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from couplet.settings.schema.section import Section
from couplet.settings.schema.sources import Policy

KEY = "data.source_args.members"


class Member(Section):
    """`data.source_args.members.<name>` of combined."""

    source: str = Field("", description="its adapter; default: the member's name")
    source_args: dict[str, Any] = Field({}, description="that adapter's own settings")
    label_map: dict[str, Any] | None = Field(
        None,
        description="our label: their column, a list of columns or null; default: that of label_maps.py, or all as is",
    )
    part: Literal["keep", "train", "test"] = Field(
        "keep", description="keep: its own parts; train, test: all of its images are in that part"
    )
    uncertain: Policy | dict[str, Policy] = Field(
        "ignore", description="as data.uncertain, by its own labels"
    )
    unmentioned: Policy = Field("ignore", description="as data.unmentioned")


class Settings(Section):
    """`data.source_args` of combined."""

    members: dict[str, dict[str, Any]] = Field(
        {}, description="name of a folder in data/raw/combined: settings"
    )
    labels: Literal["union", "intersection"] = Field(
        "union", description="labels that any member has, or only those that all have"
    )
