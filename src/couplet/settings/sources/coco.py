"""MS-COCO, which `couplet.datasets.coco` reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import Section


class Settings(Section):
    """`data.source_args` of coco."""

    year: Literal["auto", 2014, 2017] = Field("auto", description="auto: whichever annotations are there")
    keep_unannotated: bool = Field(
        False, description="keep images without annotations as rows of zeros: normal X-rays have none"
    )
