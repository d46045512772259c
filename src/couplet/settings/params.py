"""The schema of params.yaml: every setting that can change a result, typed, documented, validated at birth.

The defaults are the first paper's values (seresnext101_32x4d at 380, ASL, AdamW, 3 epochs). What a preset changes
is in presets/ (`couplet.settings.presets`). Each section has a file of its own, for example
`couplet.settings.schema.schedule`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from couplet.project.errors import UserError
from couplet.project.project import HERE
from couplet.settings.schema.augment import AugmentParams
from couplet.settings.schema.calibration import CalibrationParams
from couplet.settings.schema.data import DataParams
from couplet.settings.schema.decision import DecisionParams
from couplet.settings.schema.ema import EmaParams
from couplet.settings.schema.image import ImageParams
from couplet.settings.schema.inference import InferenceParams
from couplet.settings.schema.loss import LossParams
from couplet.settings.schema.messages import one_line
from couplet.settings.schema.model import ModelParams
from couplet.settings.schema.optimizer import OptimizerParams
from couplet.settings.schema.plugins import PLUG_INS
from couplet.settings.schema.refiner import RefinerParams
from couplet.settings.schema.report import ReportParams
from couplet.settings.schema.schedule import ScheduleParams
from couplet.settings.schema.section import COUPLET, PAPER_1, Idle, Section, not_read
from couplet.settings.schema.split import SplitParams
from couplet.settings.schema.train import TrainParams
from couplet.settings.yaml12 import read_settings

# Mappings of a data set's, a plug-in's, timm's or the user's own keys: one setting each, however many keys they hold.
OPEN_MAPPINGS = (
    "data.source_args",
    "data.uncertain",
    "data.external.source_args",
    "data.external.label_map",
    "data.external.uncertain",
    "model.backbone_args",
    *(kind.args for kind in PLUG_INS),
)


class Params(Section):
    """Everything in params.yaml."""

    preset: str = Field(
        "paper",
        pattern=r"^[a-z0-9_]+$",
        description="the preset these settings started from",
        json_schema_extra=COUPLET,
    )
    seed: int = Field(
        42,
        ge=0,
        le=2**32 - 1,
        description="of splits, initial weights, order and augmentation",
        json_schema_extra=PAPER_1,
    )
    data: DataParams = Field(DataParams(), description="")
    image: ImageParams = Field(ImageParams(), description="")
    split: SplitParams = Field(SplitParams(), description="")
    model: ModelParams = Field(ModelParams(), description="")
    refiner: RefinerParams = Field(RefinerParams(), description="")
    loss: LossParams = Field(LossParams(), description="")
    optimizer: OptimizerParams = Field(OptimizerParams(), description="")
    schedule: ScheduleParams = Field(ScheduleParams(), description="")
    ema: EmaParams = Field(EmaParams(), description="")
    train: TrainParams = Field(TrainParams(), description="")
    augment: AugmentParams = Field(AugmentParams(), description="")
    inference: InferenceParams = Field(InferenceParams(), description="")
    calibration: CalibrationParams = Field(CalibrationParams(), description="")
    decision: DecisionParams = Field(DecisionParams(), description="")
    report: ReportParams = Field(ReportParams(), description="")

    @model_validator(mode="after")
    def _inverse_of_a_loss(self) -> Params:
        # Couplings that are fitted after training make probabilities of any outputs, and these are calibrated.
        ranks = not self.loss.per_cell and not self.refiner.fitted_afterwards
        if self.calibration.method == "inverse" and ranks:
            raise ValueError(
                f"calibration.method = inverse has no meaning for loss.name = {self.loss.name}, whose outputs are "
                "ranks and no probabilities: set it to beta or none"
            )
        return self

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dict with params.yaml's own keys (`lambda`, not `lambda_`), in the schema's order."""
        return self.model_dump(by_alias=True)

    def idle(self) -> list[Idle]:
        """What changes nothing under the other settings, section by section."""
        sections = [
            value for name in type(self).model_fields if isinstance(value := getattr(self, name), Section)
        ]
        found = [idle for section in sections for idle in section.idle()]
        # The first epoch is the best at worst, and after the last one there is nothing left to stop.
        patience, epochs = self.train.patience, self.schedule.epochs
        if patience >= epochs - 1:
            why = f"train.patience = {patience} never stops a training of schedule.epochs = {epochs}"
            found.append(Idle(("train.patience",), why))
        slower = self.schedule.patience
        if self.schedule.name == "plateau" and patience <= slower + 1 < epochs - 1:
            why = f"schedule.patience = {slower}: with train.patience = {patience} training ends where the rate falls"
            found.append(Idle(("schedule.patience", "train.patience"), why))
        factor = self.optimizer.backbone_lr_factor
        if self.model.freeze == 1:
            found.append(not_read("optimizer.backbone_lr_factor", factor, "model.freeze is 1"))
        view, size = self.inference.view, self.image.size
        if size == self.image.store_size:
            why = (
                f"inference.view = {view}: image.store_size is image.size, so every view is the whole picture"
            )
            found.append(Idle(("inference.view",), why))
        if len(self.split.folds) == 1 and self.calibration.method != "none":
            one_model = "the ensemble of one fold is its model"
            found.append(not_read("calibration.sharpen", self.calibration.sharpen, one_model))
        return found


def load_params(path: str | Path = HERE.params) -> Params:
    """Read and validate params.yaml.

    Raises:
        UserError: one line naming the key, its value, what is allowed and the nearest valid key.
    """
    return parse_params(read_settings(Path(path)), str(path))


def parse_params(content: dict[str, Any], origin: str) -> Params:
    """Validate settings that were read from `origin` (named in the error)."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        known = [*all_keys(), *(key for kind in PLUG_INS for key in kind.own_keys())]
        raise UserError(f"{origin}: {one_line(error, Params, known)}") from None


def all_keys() -> list[str]:
    """Every leaf key of params.yaml in dotted form, in the schema's order.

    >>> [key for key in all_keys() if key.startswith("ema")]
    ['ema.enabled', 'ema.decay']
    """
    return list(flatten(Params().as_dict()))


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as {dotted key: value}; the open mappings stay whole."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = prefix + key
        if isinstance(value, dict) and name not in OPEN_MAPPINGS:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat
