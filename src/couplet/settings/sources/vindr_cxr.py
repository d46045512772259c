"""VinDr-CXR, which `couplet.datasets.vindr_cxr` reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import Section


class Settings(Section):
    """`data.source_args` of vindr_cxr."""

    readers: Literal["majority", "any"] = Field(
        "majority",
        description="a training image has a finding that most of its readers see, or that any does",
    )
