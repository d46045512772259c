"""Settings of the supervised loss: `loss` in params.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from couplet.settings.schema.plugins import LOSSES
from couplet.settings.schema.section import DIFFERS, PAPER_1, Section

if TYPE_CHECKING:
    import numpy as np


class LossParams(Section):
    """The supervised loss (a plug-in: a file of couplet.settings.losses and of couplet.losses)."""

    name: str = Field(
        "asl",
        description="the supervised loss; docs/presets.md lists the losses",
        json_schema_extra={**PAPER_1, "enum": [*LOSSES.names()]},
    )
    args: dict[str, Any] = Field(
        {},
        validate_default=True,
        description="the loss's own settings, docs/presets.md",
        json_schema_extra=PAPER_1,
    )
    reduction: Literal["batchmean", "mean", "sum"] = Field(
        "batchmean",
        description="batchmean: sum over labels, mean over images; it decides what lambda means",
        json_schema_extra=DIFFERS,
    )
    # At 1 every target would be 1/2, whatever the label.
    smoothing: float = Field(
        0.0, ge=0, lt=1, description="label smoothing y (1 - eps) + eps / 2", json_schema_extra=PAPER_1
    )

    @field_validator("name", mode="before")
    @classmethod
    def _known_name(cls, value: Any) -> Any:
        return LOSSES.known(value)

    @field_validator("args")
    @classmethod
    def _complete_args(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        # A loss that is not known has been refused already.
        return LOSSES.complete(info.data["name"], value) if "name" in info.data else value

    @model_validator(mode="after")
    def _check(self) -> LossParams:
        if self.smoothing and not self.per_cell:
            raise ValueError(
                f"loss.smoothing = {self.smoothing} has no meaning for loss.name = {self.name}: set it to 0"
            )
        return self

    @property
    def settings(self) -> Section:
        """`args` as the loss's own class, for example couplet.settings.losses.asl.Settings."""
        return LOSSES.settings(self.name).model_validate(self.args)

    @property
    def per_cell(self) -> bool:
        """Whether it is a sum over cells (image, label), so that an output of its network stands for a probability."""
        return getattr(self.settings, "PER_CELL", True)


def weight_of_positives(prevalence: float | np.ndarray) -> np.ndarray:
    """Negatives per positive of labels, within [1, 10], as losses weigh them; the bound without a positive.

    >>> weight_of_positives([0.8, 0.25, 0.01, 0.0]).tolist()
    [1.0, 3.0, 10.0, 10.0]
    """
    import numpy as np

    share = np.asarray(prevalence, dtype=np.float64)
    ratio = np.divide(1 - share, share, out=np.full(share.shape, np.inf), where=share > 0)
    return np.clip(ratio, 1, 10)
