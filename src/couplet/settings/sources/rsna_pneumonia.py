"""The RSNA Pneumonia Detection Challenge, which `couplet.datasets.rsna_pneumonia` reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import Section


class Settings(Section):
    """`data.source_args` of rsna_pneumonia."""

    labels: Literal["target", "classes"] = Field(
        "target", description="target: whether there is a box; classes: the three of the detailed table"
    )
