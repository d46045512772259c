"""Several data sets as one, which `couplet.datasets.combined` reads."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from couplet.project.errors import UserError
from couplet.settings.schema.section import Section
from couplet.settings.schema.sources import Policy
from couplet.settings.source_args import keys_below, parse_settings, source_settings

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
        {}, validate_default=True, description="name of a folder in data/raw/combined: settings"
    )
    labels: Literal["union", "intersection"] = Field(
        "union", description="labels that any member has, or only those that all have"
    )

    @field_validator("members")
    @classmethod
    def _each_of_its_adapter(cls, given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if not given:
            raise UserError(
                f"{KEY} names no data set: write one, for example `nih: {{}}`, for each folder in its raw folder"
            )
        for name, settings in given.items():
            member_settings(name, settings)
        return given


def member_settings(name: str, given: dict[str, Any]) -> Member:
    """The settings of a member of that name, with its source.

    Raises:
        UserError: the name, a setting of the member or one of its adapter is wrong. A validator may call this: pydantic
            lets it through as it is.
    """
    place = f"{KEY}.{name}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"{place}: {name!r} is no name of a member: use letters, digits, '.', '_' and '-'")
    settings = parse_settings(Member, "combined", given, place)
    settings = settings.model_copy(update={"source": settings.source or name})
    if settings.source == "combined":
        raise UserError(f"{place}.source is combined: name its members here instead")
    with keys_below(place):
        source_settings(settings.source, settings.source_args)
    return settings
