"""What every section of params.yaml is made of: the base class, shared types, and where a value comes from."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Width = Annotated[int, Field(ge=1)]

# Where a setting comes from, for the column `source` of docs/presets.md: `json_schema_extra=PAPER_1`.
PAPER_1: JsonDict = {"source": "1"}  # paper 1 or its released code
PAPER_2: JsonDict = {"source": "2"}  # paper 2, or ADD-GCN where paper 2 leaves it open
BOTH_PAPERS: JsonDict = {"source": "1, 2"}
OWN_PAPER: JsonDict = {"source": "own"}  # the paper of the head, loss or preset itself, or its released code
COUPLET: JsonDict = {"source": "c"}
DIFFERS: JsonDict = {"source": "**c**"}  # couplet's own choice where a paper has another


class Idle(NamedTuple):
    """A setting that changes nothing under the others."""

    keys: tuple[str, ...]
    """Dotted settings; it is worth a word if one of them is neither its default nor the preset's."""
    why: str


class Section(BaseModel):
    """A part of params.yaml: unknown keys and values of another type are errors; frozen once read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def idle(self) -> list[Idle]:
        """What of this section changes nothing, whatever its value is (`couplet.settings.idle`)."""
        return []


def not_read(key: str, value: Any, because: str) -> Idle:
    """A setting that nothing reads.

    >>> not_read("ema.decay", 0.9, "ema.enabled is false").why
    'ema.decay = 0.9 is not read: ema.enabled is false'
    """
    shown = str(value).lower() if isinstance(value, bool) else value
    return Idle((key,), f"{key} = {shown} is not read: {because}")
