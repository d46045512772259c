"""Settings of the label couplings: `refiner` in params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from couplet.settings.schema.section import COUPLET, PAPER_1, Idle, NotNegative, Positive, Section, not_read


class RefinerParams(Section):
    """The learned sparse label couplings.

    Trained with the network (paper 1): z' = z + alpha sigmoid(z) A, lambda |A|_1 added to the loss. Or fitted
    afterwards (`evaluation.couplings`) on predictions of models that have not seen the image.
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
    strictness: Positive = Field(
        2.0,
        description="out_of_fold: penalty on |A| in standard errors of its gradient",
        json_schema_extra=COUPLET,
    )

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
        joint = {"alpha": self.alpha, "lambda": self.lambda_}
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
        return found
