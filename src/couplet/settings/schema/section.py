"""What every section of params.yaml is made of: the base class, shared types, and where a value comes from."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]

# Where a setting comes from, for the column `source` of docs/presets.md: `json_schema_extra=PAPER_1`.
PAPER_1: JsonDict = {"source": "1"}  # paper 1 or its released code
PAPER_2: JsonDict = {"source": "2"}  # paper 2, or ADD-GCN where paper 2 leaves it open
BOTH_PAPERS: JsonDict = {"source": "1, 2"}
COUPLET: JsonDict = {"source": "c"}
DIFFERS: JsonDict = {"source": "**c**"}  # couplet's own choice where a paper has another


class Section(BaseModel):
    """A part of params.yaml: unknown keys and values of another type are errors; frozen once read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
