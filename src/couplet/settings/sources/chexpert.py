"""CheXpert, which `couplet.datasets.chexpert` reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import Section


class Settings(Section):
    """`data.source_args` of chexpert."""

    test_table: Literal["auto", "valid.csv", "test_labels.csv"] = Field(
        "auto", description="the test part; auto: valid.csv, else test_labels.csv, else none"
    )
