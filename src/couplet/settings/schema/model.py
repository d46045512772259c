"""Settings of backbone and head: `model` in params.yaml."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from couplet.settings.schema.levels import LevelsParams
from couplet.settings.schema.messages import one_of
from couplet.settings.schema.plugins import HEADS
from couplet.settings.schema.section import (
    BOTH_PAPERS,
    COUPLET,
    OWN_PAPER,
    PAPER_1,
    PAPER_2,
    Fraction,
    Idle,
    Section,
    not_read,
)

Metadata = Literal["age", "sex", "view"]


class ModelParams(Section):
    """Backbone (a timm model) and head (a plug-in: a file of couplet.settings.heads and of couplet.heads)."""

    backbone: str = Field(
        "seresnext101_32x4d.gluon_in1k",
        min_length=1,
        description="timm name, with the weights' tag",
        json_schema_extra=PAPER_1,
    )
    pretrained: bool = Field(
        True, description="start from the published weights of that tag", json_schema_extra=PAPER_1
    )
    backbone_args: dict[str, Any] = Field(
        {}, description="timm's own arguments, for a thinner net", json_schema_extra=COUPLET
    )
    freeze: Fraction = Field(
        0.0,
        description="share of the backbone's layers, from the input on, that never change",
        json_schema_extra=OWN_PAPER,
    )
    extra_pool: str = Field(
        "",
        description="a stage of the backbone, as layer1, after which 3 x 3 max pooling of stride 2 is added",
        json_schema_extra=OWN_PAPER,
    )
    metadata: list[Metadata] = Field(
        [],
        description="what a head of pooled features reads beside them, from the data set's table; unknown: the "
        "training fold's mean",
        json_schema_extra=OWN_PAPER,
    )
    dropout: float = Field(
        0.4,
        ge=0,
        lt=1,
        description="before the classifier, of heads without a dropout of their own",
        json_schema_extra=PAPER_1,
    )
    head: str = Field(
        "linear",
        description="what makes logits of features; docs/presets.md lists the heads",
        json_schema_extra={**BOTH_PAPERS, "enum": [*HEADS.names()]},
    )
    head_args: dict[str, Any] = Field(
        {},
        validate_default=True,
        description="the head's own settings, docs/presets.md",
        json_schema_extra=PAPER_2,
    )
    levels: LevelsParams = Field(
        LevelsParams(), description="a chain of networks, trained one after the other"
    )

    @field_validator("head", mode="before")
    @classmethod
    def _known_head(cls, value: Any) -> Any:
        return HEADS.known(value)

    @field_validator("head_args")
    @classmethod
    def _complete_head_args(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        # A head that is not known has been refused already.
        return HEADS.complete(info.data["head"], value) if "head" in info.data else value

    @field_validator("metadata")
    @classmethod
    def _each_once(cls, value: list[Metadata]) -> list[Metadata]:
        if len(set(value)) < len(value):
            raise ValueError(f"model.metadata names a column twice: {value}")
        return value

    @model_validator(mode="after")
    def _check(self) -> ModelParams:
        if self.metadata and not getattr(self.head_settings, "READS_METADATA", False):
            able = [name for name in HEADS.names() if getattr(HEADS.settings(name), "READS_METADATA", False)]
            raise ValueError(
                f"model.metadata is {self.metadata}, and model.head = {self.head} reads a feature map alone: set "
                f"model.metadata to [], or model.head to one of {', '.join(able)}"
            )
        if self.pretrained and "." not in self.backbone:
            raise ValueError(
                f"model.backbone = {self.backbone!r} needs its weights' tag with model.pretrained: true, "
                "for example seresnext101_32x4d.gluon_in1k (what a bare name loads changes over time)"
            )
        self._check_levels()
        return self

    def _check_levels(self) -> None:
        kind = self.levels.kind
        if kind != "single" and kind not in levels_of(self.head):
            able = [name for name in HEADS.names() if kind in levels_of(name)]
            raise ValueError(
                f"model.levels.kind = {kind} is not defined for model.head = {self.head}: set model.head to "
                f"{one_of(able)}, or model.levels.kind to single"
            )

    @property
    def head_settings(self) -> Section:
        """`head_args` as the head's own class, for example couplet.settings.heads.db_dgcn.Settings."""
        return HEADS.settings(self.head).model_validate(self.head_args)

    def idle(self) -> list[Idle]:
        """The dropout of a head that has none, and what the head says of its own settings."""
        settings = self.head_settings
        reads_dropout = getattr(settings, "READS_DROPOUT", True)
        dropout = not_read("model.dropout", self.dropout, f"model.head is {self.head}")
        return [*([] if reads_dropout else [dropout]), *settings.idle(), *self.levels.idle()]


def levels_of(head: str) -> tuple[str, ...]:
    """The kinds of model.levels that a head is defined for, beside `single`."""
    kinds: tuple[str, ...] = getattr(HEADS.settings(head), "LEVELS", ())
    return kinds
