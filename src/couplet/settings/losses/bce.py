"""Binary cross-entropy: the first paper's alternative (weighted), and the second paper's loss (not weighted)."""

from __future__ import annotations

from pydantic import Field

from couplet.settings.schema.section import PAPER_1, Section


class Settings(Section):
    """How positives are weighted."""

    pos_weight: bool = Field(
        True,
        description="weight positives by negatives / positives of the training fold, within [1, 10]",
        json_schema_extra=PAPER_1,
    )
