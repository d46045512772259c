"""Settings of the optimiser: `optimizer` in params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import (
    BOTH_PAPERS,
    OWN_PAPER,
    PAPER_1,
    PAPER_2,
    Idle,
    NotNegative,
    Positive,
    Section,
    not_read,
)


class OptimizerParams(Section):
    """AdamW or SGD, with the refiner's matrix in a group of its own, without weight decay."""

    name: Literal["adamw", "sgd"] = Field(
        "adamw", description="adamw, or sgd with momentum", json_schema_extra=BOTH_PAPERS
    )
    lr: Positive = Field(
        2e-4, description="base learning rate of head and refiner", json_schema_extra=PAPER_1
    )
    backbone_lr_factor: NotNegative = Field(
        1.0, description="the backbone's learning rate is lr times this", json_schema_extra=PAPER_2
    )
    weight_decay: NotNegative = Field(1e-4, description="of backbone and head", json_schema_extra=PAPER_1)
    decay_vectors: bool = Field(
        True,
        description="false: no weight decay of biases, norms and what a network names itself, as position tables",
        json_schema_extra=OWN_PAPER,
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd", json_schema_extra=PAPER_2)
    max_grad_norm: Positive = Field(
        1.0, description="bound of the global gradient norm", json_schema_extra=PAPER_1
    )

    def idle(self) -> list[Idle]:
        """AdamW has betas of its own; where nothing decays vectors do not either."""
        reason = f"optimizer.name is {self.name}"
        found = [] if self.name == "sgd" else [not_read("optimizer.momentum", self.momentum, reason)]
        if not self.weight_decay:
            found.append(
                not_read("optimizer.decay_vectors", self.decay_vectors, "optimizer.weight_decay is 0")
            )
        return found
