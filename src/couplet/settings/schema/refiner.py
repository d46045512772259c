"""Settings of the label couplings: `refiner` in params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from couplet.settings.schema.section import (
    COUPLET,
    PAPER_1,
    Fraction,
    Idle,
    NotNegative,
    Positive,
    Section,
    not_read,
)


class RefinerParams(Section):
    """The learned sparse label couplings.

    Trained with the network: z' = z + alpha m(z) A; with m = sigmoid and lambda |A|_1 added to the loss it is paper 1.
    Or fitted afterwards (`evaluation.couplings`) on predictions of models that have not seen the image.
    """

    enabled: bool = Field(
        True,
        description="false is the ablation: logits go straight to the sigmoid",
        json_schema_extra=PAPER_1,
    )
    fit: Literal["joint", "out_of_fold"] = Field(
        "joint",
        description="joint: trained with the network; out_of_fold: fitted afterwards on predictions of models that "
        "have not seen the image",
        json_schema_extra=PAPER_1,
    )
    alpha: float = Field(0.3, description="joint: fixed strength of the coupling", json_schema_extra=PAPER_1)
    lambda_: NotNegative = Field(
        0.001,
        alias="lambda",
        description="joint: weight of the sum of |A| off the diagonal",
        json_schema_extra=PAPER_1,
    )
    message: Literal["sigmoid", "calibrated"] = Field(
        "sigmoid",
        description="joint: what a label tells the others: its sigmoid, or the probability that the loss means by it",
        json_schema_extra=PAPER_1,
    )
    teach: Fraction = Field(
        0.0,
        description="joint: share of training images, drawn each epoch, whose messages are the true labels",
        json_schema_extra=COUPLET,
    )
    lr_factor: Positive = Field(
        1.0,
        description="joint: the couplings' learning rate is optimizer.lr times this",
        json_schema_extra=PAPER_1,
    )
    sparsity: Literal["l1", "proximal"] = Field(
        "l1",
        description="joint: a term of the loss (l1), or a soft threshold after each step, with exact zeros (proximal)",
        json_schema_extra=PAPER_1,
    )
    # Far beyond what is of use; it bounds the memory of a backward pass through all steps.
    steps: int = Field(
        1,
        ge=1,
        le=50,
        description="joint: how often the labels exchange messages",
        json_schema_extra=PAPER_1,
    )
    conditional: Literal["none", "gate"] = Field(
        "none",
        description="joint: gate: the image decides how loudly each label speaks, between 0 and 2",
        json_schema_extra=PAPER_1,
    )
    strictness: Positive = Field(
        2.0,
        description="out_of_fold: penalty on |A| in standard errors of its gradient",
        json_schema_extra=COUPLET,
    )

    @model_validator(mode="after")
    def _check(self) -> RefinerParams:
        if self.fitted_afterwards and self.conditional != "none":
            raise ValueError(
                "refiner.conditional = 'gate' reads the network's features, and refiner.fit = 'out_of_fold' has only "
                "its predictions: set refiner.conditional to none, or refiner.fit to joint"
            )
        return self

    @property
    def trained(self) -> bool:
        """Whether networks have a refiner, whose A is trained with them."""
        return self.enabled and self.fit == "joint"

    @property
    def fitted_afterwards(self) -> bool:
        """Whether predictions are refined by couplings that are fitted on them out of fold."""
        return self.enabled and self.fit == "out_of_fold"

    def idle(self) -> list[Idle]:
        """Settings of couplings that are switched off, or of another fit, or that a strength of 0 takes out."""
        joint = self.model_dump(by_alias=True, exclude={"enabled", "fit", "strictness"})
        afterwards = {"strictness": self.strictness}
        if not self.enabled:
            values = {"fit": self.fit, **joint, **afterwards}
            return [
                not_read(f"refiner.{key}", value, "refiner.enabled is false") for key, value in values.items()
            ]
        unread = afterwards if self.trained else joint
        found = [
            not_read(f"refiner.{key}", value, f"refiner.fit is {self.fit}") for key, value in unread.items()
        ]
        if self.trained and not self.alpha:
            none = "the couplings move no logit, as with refiner.enabled: false"
            found.append(Idle(("refiner.alpha",), f"refiner.alpha = {self.alpha}: {none}"))
        if self.trained and self.sparsity == "proximal" and not self.lambda_:
            why = "refiner.sparsity = proximal with refiner.lambda = 0: nothing pulls a coupling to zero"
            found.append(Idle(("refiner.sparsity",), why))
        return found
