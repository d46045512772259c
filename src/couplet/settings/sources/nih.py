"""NIH ChestX-ray14, which `couplet.datasets.nih` reads."""

from __future__ import annotations

from pydantic import Field

from couplet.settings.schema.section import Section


class Settings(Section):
    """`data.source_args` of nih."""

    no_finding: bool = Field(False, description="add No Finding, the all-zero row, as a 15th label")
