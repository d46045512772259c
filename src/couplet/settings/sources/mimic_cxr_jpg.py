"""MIMIC-CXR-JPG, which `couplet.datasets.mimic_cxr_jpg` reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import Section


class Settings(Section):
    """`data.source_args` of mimic_cxr_jpg."""

    labeler: Literal["auto", "chexpert", "negbio"] = Field(
        "auto", description="whose labels; auto: chexpert, and negbio where that table alone is there"
    )
    files: Literal["jpg", "dcm"] = Field("jpg", description="jpg, or the DICOM of MIMIC-CXR")
