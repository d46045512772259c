"""PadChest, which `couplet.datasets.padchest` reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import Section
from couplet.settings.source_args import LabelTerms


class Settings(Section):
    """`data.source_args` of padchest."""

    labels: LabelTerms = Field(
        {},
        description="names of the release, or a label -> its names; default: 26 frequent findings",
    )
    folders: list[int] = Field([], description="only the images of these ImageDir; default: all")
    labelled_by: Literal["all", "physicians"] = Field(
        "all", description="physicians: only the reports that a physician labelled (MethodLabel)"
    )
    keep_suboptimal: bool = Field(False, description="keep the images of suboptimal studies")
