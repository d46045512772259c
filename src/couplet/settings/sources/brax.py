"""BRAX, which `couplet.datasets.brax` reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import Section


class Settings(Section):
    """`data.source_args` of brax."""

    files: Literal["png", "dcm"] = Field("png", description="images/ or Anonymized_DICOMs/")
