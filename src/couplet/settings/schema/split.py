"""Settings of folds: `split` in params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from couplet.project.errors import UserError
from couplet.settings.schema.section import COUPLET, DIFFERS, PAPER_1, PAPER_2, Section


class SplitParams(Section):
    """Folds of cross-validation, and the test part where the data set has none."""

    folds: list[int] = Field(
        [0, 1, 2], description="0 to K-1; the graph grows with this list", json_schema_extra=PAPER_1
    )
    group_by: Literal["patient", "none"] = Field(
        "patient",
        description="patient: nobody is in two folds; none: by image, as the paper does (leaks)",
        json_schema_extra=DIFFERS,
    )
    own_test: bool = Field(
        True,
        description="keep the data set's own test part; false: deal test_fraction of all images anew",
        json_schema_extra=COUPLET,
    )
    test_fraction: float = Field(
        0.2, ge=0, lt=1, description="used only where no own test part is kept", json_schema_extra=COUPLET
    )
    holdout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="0: K folds; else fold 0 is this share, for selection only",
        json_schema_extra=PAPER_2,
    )

    @model_validator(mode="after")
    def _check(self) -> SplitParams:
        if self.folds != list(range(len(self.folds))) or not self.folds:
            raise ValueError(
                f"split.folds must be 0 to K-1 in order, for example [0, 1, 2], not {self.folds}"
            )
        if self.holdout > 0 and self.folds != [0]:
            raise ValueError("split.holdout above 0 needs split.folds: [0]")
        if self.holdout == 0 and len(self.folds) < 2:
            raise ValueError("split.folds needs at least two folds, or split.holdout above 0")
        return self

    def refuse_unknown(self, fold: int) -> None:
        """Raise a UserError unless `fold` is one of the folds."""
        if fold not in self.folds:
            raise UserError(
                f"fold {fold} is not in split.folds = {self.folds}: name one of them, or add it there"
            )
