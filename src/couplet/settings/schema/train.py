"""Settings of the training loop: `train` in params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from couplet.settings.schema.section import COUPLET, DIFFERS, PAPER_1, Positive, Section

# Our own reading: fewer images make noisy statistics. Fold 0 of phantom_large had a macro-AUC of 0.836 with 24
# images a step and of 0.813 with the same in two parts of 12 (a run of each).
LEAST_PER_PART = 8


class TrainParams(Section):
    """The training loop."""

    repeat: int = Field(
        0,
        ge=0,
        le=2**32 - 1,
        description="another training on the same split: other initial weights, order, views and dropout",
        json_schema_extra=COUPLET,
    )
    batch_size: int = Field(
        24, ge=2, description="images per step; a last short batch is dropped", json_schema_extra=PAPER_1
    )
    parts: int = Field(
        1,
        ge=1,
        description="equal parts of a step, each with its own BatchNorm statistics; results do not depend on how many "
        "processes share them",
        json_schema_extra=COUPLET,
    )
    precision: Literal["auto", "bf16", "fp16", "float32"] = Field(
        "auto",
        description="auto: bf16 where the device has it, fp16 on older GPUs, else float32",
        json_schema_extra=DIFFERS,
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU if there is one", json_schema_extra=COUPLET
    )
    arithmetic: Literal["portable", "native"] = Field(
        "native",
        description="native: the machine's fastest; portable: the same bytes on every x86-64 CPU with AVX2",
        json_schema_extra=COUPLET,
    )
    threads: int = Field(
        1,
        ge=1,
        description="CPU threads; a fixed number, because it changes the last digits",
        json_schema_extra=COUPLET,
    )
    patience: int = Field(
        3,
        ge=1,
        description="epochs without a better validation macro-AUC before it stops",
        json_schema_extra=PAPER_1,
    )
    max_skipped_in_a_row: int = Field(
        20,
        ge=1,
        description="non-finite batches in a row before it is an error",
        json_schema_extra=DIFFERS,
    )
    checkpoint_minutes: Positive = Field(
        10.0, description="longest time between two checkpoints", json_schema_extra=COUPLET
    )

    @model_validator(mode="after")
    def _check(self) -> TrainParams:
        self._check_parts()
        if self.arithmetic == "portable":
            for key, value, allowed in (
                ("device", self.device, "cpu"),
                ("precision", self.precision, "float32"),
            ):
                if value not in ("auto", allowed):
                    raise ValueError(
                        f"train.{key} = {value!r} is not portable: set it to auto or {allowed}, or set "
                        "train.arithmetic to native"
                    )
        if self.device == "cpu" and self.precision == "fp16":
            raise ValueError(
                "train.precision = 'fp16' needs a GPU, and train.device is cpu: set train.precision to auto, bf16 or "
                "float32, or train.device to auto"
            )
        return self

    def _check_parts(self) -> None:
        if self.parts == 1:
            return
        if self.parts & (self.parts - 1):
            raise ValueError(f"train.parts = {self.parts} should be a power of two")
        if self.batch_size % self.parts:
            raise ValueError(f"train.parts = {self.parts} must divide train.batch_size = {self.batch_size}")
        each = self.batch_size // self.parts
        if each < LEAST_PER_PART:
            raise ValueError(
                f"train.parts = {self.parts} leaves {each} images for each BatchNorm, at least {LEAST_PER_PART} are "
                "needed: raise train.batch_size or lower train.parts"
            )
