"""Grand X-Ray SLAM, which `couplet.datasets.grand_xray_slam` reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import Section


class Settings(Section):
    """`data.source_args` of grand_xray_slam and phantom."""

    division: Literal["auto", "A", "B"] = Field("auto", description="auto: whichever tables are there")
