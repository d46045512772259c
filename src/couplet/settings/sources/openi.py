"""Open-i, the chest X-ray collection of Indiana University, which `couplet.datasets.openi` reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import Section
from couplet.settings.source_args import LabelTerms


class Settings(Section):
    """`data.source_args` of openi."""

    labels: LabelTerms = Field(
        {}, description="terms of the coding, or a label -> its terms; default: 22 frequent findings"
    )
    release: Literal["auto", "kaggle", "nlm"] = Field(
        "auto", description="kaggle: the two tables; nlm: the XML reports; auto: what is there"
    )
