"""Settings of the label couplings: `refiner` in params.yaml."""

from __future__ import annotations

from pydantic import Field

from couplet.settings.schema.section import PAPER_1, Idle, NotNegative, Section, not_read


class RefinerParams(Section):
    """The learned sparse label couplings: z' = z + alpha sigmoid(z) A, lambda |A|_1 added to the loss."""

    enabled: bool = Field(
        True,
        description="false is the ablation: logits go straight to the sigmoid",
        json_schema_extra=PAPER_1,
    )
    alpha: float = Field(0.3, description="fixed strength of the coupling", json_schema_extra=PAPER_1)
    lambda_: NotNegative = Field(
        0.001,
        alias="lambda",
        description="weight of the sum of |A| off the diagonal",
        json_schema_extra=PAPER_1,
    )

    def idle(self) -> list[Idle]:
        """Settings of couplings that are switched off, or that a strength of 0 takes out of the logits."""
        if not self.enabled:
            values = {"alpha": self.alpha, "lambda": self.lambda_}
            return [
                not_read(f"refiner.{key}", value, "refiner.enabled is false") for key, value in values.items()
            ]
        none = "the couplings move no logit, as with refiner.enabled: false"
        return [] if self.alpha else [Idle(("refiner.alpha",), f"refiner.alpha = {self.alpha}: {none}")]
