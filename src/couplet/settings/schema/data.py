"""Settings of the data set: `data` in params.yaml."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field

from couplet.settings.schema.section import COUPLET, DIFFERS, PAPER_1, Fraction, Section

Policy = Literal["ignore", "zeros", "ones"]
Source = Literal[
    "phantom",
    "grand_xray_slam",
    "nih",
    "chexpert",
    "mimic_cxr_jpg",
    "vindr_cxr",
    "rsna_pneumonia",
    "padchest",
    "brax",
    "openi",
    "ranzcr_clip",
    "csv",
    "coco",
    "combined",
]
SOURCES: tuple[str, ...] = get_args(Source)


class DataParams(Section):
    """Which data set is read, and what its unknown labels mean."""

    source: Source = Field(
        "grand_xray_slam", description="adapter that reads data/raw/<source>", json_schema_extra=PAPER_1
    )
    source_args: dict[str, Any] = Field(
        {}, description="the adapter's own settings, docs/datasets.md", json_schema_extra=COUPLET
    )
    uncertain: Policy | dict[str, Policy] = Field(
        "ignore",
        description="labels marked -1: ignore (masked), zeros or ones; or one of them per label",
        json_schema_extra=DIFFERS,
    )
    unmentioned: Policy = Field(
        "ignore",
        description="blank label cells: ignore (masked), zeros or ones",
        json_schema_extra=DIFFERS,
    )
    max_unreadable: Fraction = Field(
        0.001, description="share of images that may be quarantined", json_schema_extra=DIFFERS
    )
