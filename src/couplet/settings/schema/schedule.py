"""Settings of the learning rate over time: `schedule` in params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from couplet.settings.schema.section import (
    BOTH_PAPERS,
    OWN_PAPER,
    PAPER_1,
    PAPER_2,
    Idle,
    Section,
    not_read,
)


class ScheduleParams(Section):
    """Learning rate over the epochs."""

    name: Literal["warmup_cosine", "step", "plateau"] = Field(
        "warmup_cosine",
        description="linear warm-up then cosine to 0, steps at epochs, or a step where validation no longer improves",
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
    factor: float = Field(
        0.1,
        gt=0,
        le=1,
        description="what it is multiplied by there (step, plateau)",
        json_schema_extra=PAPER_2,
    )
    patience: int = Field(
        1,
        ge=0,
        description="epochs without a better validation macro-AUC after which the next one lowers the rate (plateau)",
        json_schema_extra=OWN_PAPER,
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
        late = [milestone for milestone in self.milestones if milestone >= self.epochs]
        if self.name == "step" and late:
            raise ValueError(
                f"schedule.milestones = {self.milestones}: {late[0]} is never reached, schedule.epochs = {self.epochs} "
                f"are numbered 0 to {self.epochs - 1}: lower it, take it out or raise schedule.epochs"
            )
        return self

    def idle(self) -> list[Idle]:
        """The other schedules' settings, and a rate that stays what it is."""
        # Without a warm-up is how `step` and `plateau` are; saying so is no mistake.
        no_warmup = ("warmup_epochs",)[: self.warmup_epochs]
        others: tuple[str, ...] = {
            "warmup_cosine": ("milestones", "factor", "patience"),
            "step": (*no_warmup, "patience"),
            "plateau": (*no_warmup, "milestones"),
        }[self.name]
        found = [
            not_read(f"schedule.{key}", getattr(self, key), f"schedule.name is {self.name}") for key in others
        ]
        flat = "the learning rate never falls"
        if self.name == "step" and not self.milestones:
            keys = ("schedule.name", "schedule.milestones")
            found.append(Idle(keys, f"schedule.name = step without schedule.milestones: {flat}"))
        elif self.name != "warmup_cosine" and self.factor == 1:
            found.append(Idle(("schedule.factor",), f"schedule.factor = {self.factor}: {flat}"))
        # The first epoch is the best at worst, patience + 1 worse ones follow, and one must be left to be slower.
        elif self.name == "plateau" and self.patience + 3 > self.epochs:
            why = f"schedule.patience = {self.patience} with schedule.epochs = {self.epochs}: {flat}"
            found.append(Idle(("schedule.patience",), why))
        return found
