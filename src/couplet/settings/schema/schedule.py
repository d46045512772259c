"""Settings of the learning rate over time: `schedule` in params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from couplet.settings.schema.section import BOTH_PAPERS, PAPER_1, PAPER_2, Positive, Section


class ScheduleParams(Section):
    """Learning rate over the epochs."""

    name: Literal["warmup_cosine", "step"] = Field(
        "warmup_cosine",
        description="linear warm-up then cosine to 0, or steps at epochs",
        json_schema_extra=BOTH_PAPERS,
    )
    epochs: int = Field(3, ge=1, description="passes over the training folds", json_schema_extra=PAPER_1)
    warmup_epochs: int = Field(
        1,
        ge=0,
        description="epochs of linear warm-up, below epochs (warmup_cosine)",
        json_schema_extra=PAPER_1,
    )
    milestones: list[int] = Field(
        [], description="epochs at whose start the rate falls, from 0 (step)", json_schema_extra=PAPER_2
    )
    factor: Positive = Field(
        0.1, description="what it is multiplied by there (step)", json_schema_extra=PAPER_2
    )

    @model_validator(mode="after")
    def _check(self) -> ScheduleParams:
        if self.name == "warmup_cosine" and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs = {self.warmup_epochs} leaves no step for the cosine: "
                f"it must be below schedule.epochs = {self.epochs}"
            )
        if self.milestones != sorted(set(self.milestones)) or any(m < 1 for m in self.milestones):
            raise ValueError(f"schedule.milestones must rise from 1 on, not {self.milestones}")
        return self
