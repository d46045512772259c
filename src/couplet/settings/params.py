"""The schema of params.yaml: every setting that can change a result, typed, documented, validated at birth.

The defaults are the first paper's values (seresnext101_32x4d at 380, ASL, AdamW, 3 epochs). What a preset changes
is in presets/ (`couplet.settings.presets`).
"""

from __future__ import annotations

import difflib
import re
import reprlib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from couplet.project import paths
from couplet.project.errors import UserError

Policy = Literal["ignore", "zeros", "ones"]
Source = Literal["phantom", "grand_xray_slam", "nih", "chexpert", "mimic_cxr_jpg", "csv", "coco"]
Codec = Literal["raw", "jpeg"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A part of params.yaml: unknown keys and values of another type are errors; frozen once read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DataParams(Section):
    """Which data set is read, and what its unknown labels mean."""

    source: Source = Field("grand_xray_slam", description="adapter that reads data/raw/<source>")
    source_args: dict[str, Any] = Field({}, description="the adapter's own settings, docs/datasets.md")
    uncertain: Policy | dict[str, Policy] = Field(
        "ignore", description="labels marked -1: ignore (masked), zeros or ones; or one of them per label"
    )
    unmentioned: Policy = Field("ignore", description="blank label cells: ignore (masked), zeros or ones")
    max_unreadable: Fraction = Field(0.001, description="share of images that may be quarantined")


class ImageParams(Section):
    """Sizes of images, in pixels, and how they are stored."""

    size: int = Field(380, ge=32, description="side of what the network sees")
    store_size: int = Field(416, ge=32, description="side of what is kept; crops are taken from it")
    channels: Literal[1, 3] = Field(1, description="1: grey pictures (X-rays), 3: colour")
    codec: Codec = Field("raw", description="how pixels are kept; raw: exact, jpeg: a fifth of the space")

    @model_validator(mode="after")
    def _check(self) -> ImageParams:
        if self.store_size < self.size:
            raise ValueError("image.store_size must be at least image.size: views are never enlarged")
        return self


class SplitParams(Section):
    """Folds of cross-validation, and the test part where the data set has none."""

    folds: list[int] = Field([0, 1, 2], description="0 to K-1; the graph grows with this list")
    group_by: Literal["patient", "none"] = Field(
        "patient", description="patient: nobody is in two folds; none: by image, as the paper does (leaks)"
    )
    test_fraction: float = Field(0.2, ge=0, lt=1, description="used only without a test part of its own")
    holdout: float = Field(
        0.0, ge=0, lt=1, description="0: K folds; else fold 0 is this share, for selection only"
    )

    @model_validator(mode="after")
    def _check(self) -> SplitParams:
        if self.folds != list(range(len(self.folds))) or not self.folds:
            raise ValueError(
                f"split.folds must be 0 to K-1 in order, for example [0, 1, 2], not {self.folds}"
            )
        if self.holdout > 0 and self.folds != [0]:
            raise ValueError("split.holdout above 0 needs split.folds: [0]")
        if self.holdout == 0 and len(self.folds) < 2:
            raise ValueError("split.folds needs at least two folds, or split.holdout above 0")
        return self

    def refuse_unknown(self, fold: int) -> None:
        """Raise a UserError unless `fold` is one of the folds."""
        if fold not in self.folds:
            raise UserError(
                f"fold {fold} is not in split.folds = {self.folds}: name one of them, or add it there"
            )


class GraphHeadParams(Section):
    """Settings of model.head: db_dgcn (the second paper); the other heads do not read them."""

    dim: int = Field(1024, ge=1, description="width D of a label's representation")
    beta: Fraction = Field(0.5, description="weight of the auxiliary branch; 0 leaves ADD-GCN")
    omega: Fraction = Field(0.5, description="weight of the attention module's own score")
    pool: Literal["max", "mean", "lse"] = Field("max", description="how maps become the attention's score")
    normalize: bool = Field(
        False, description="attention and dynamic graphs sum to 1; true for X-rays and AMP"
    )
    share_dynamic: bool = Field(False, description="both branches use one dynamic graph's weights")
    static_init: Literal["cooccurrence", "random"] = Field(
        "cooccurrence", description="start of the static graph: the training fold's co-occurrence, or random"
    )
    static_trainable: bool = Field(True, description="whether the static graph is trained")


class ModelParams(Section):
    """Backbone (a timm model) and head."""

    backbone: str = Field(
        "seresnext101_32x4d.gluon_in1k", min_length=1, description="timm name, with the weights' tag"
    )
    pretrained: bool = Field(True, description="start from the published weights of that tag")
    backbone_args: dict[str, Any] = Field({}, description="timm's own arguments, for a thinner net")
    dropout: float = Field(0.4, ge=0, lt=1, description="before the classifier (linear, gmp)")
    head: Literal["linear", "gmp", "db_dgcn"] = Field(
        "linear", description="linear: average pooling; gmp: global max pooling; db_dgcn: the second paper"
    )
    head_args: GraphHeadParams = Field(GraphHeadParams(), description="settings of db_dgcn")

    @model_validator(mode="after")
    def _check(self) -> ModelParams:
        if self.pretrained and "." not in self.backbone:
            raise ValueError(
                f"model.backbone = {self.backbone!r} needs its weights' tag with model.pretrained: true, "
                "for example seresnext101_32x4d.gluon_in1k (what a bare name loads changes over time)"
            )
        return self


class RefinerParams(Section):
    """The learned sparse label couplings: z' = z + alpha sigmoid(z) A, lambda |A|_1 added to the loss."""

    enabled: bool = Field(True, description="false is the ablation: logits go straight to the sigmoid")
    alpha: float = Field(0.3, description="fixed strength of the coupling")
    lambda_: NotNegative = Field(
        0.001, alias="lambda", description="weight of the sum of |A| off the diagonal"
    )


class LossParams(Section):
    """The supervised loss."""

    name: Literal["asl", "bce"] = Field("asl", description="asymmetric loss, or binary cross-entropy")
    gamma_pos: NotNegative = Field(0.0, description="focusing of positives (asl)")
    gamma_neg: NotNegative = Field(4.0, description="focusing of negatives (asl)")
    clip: float = Field(0.05, ge=0, lt=1, description="probability margin of negatives (asl)")
    pos_weight: bool = Field(True, description="weight positives by negatives/positives in [1, 10] (bce)")
    reduction: Literal["batchmean", "mean", "sum"] = Field(
        "batchmean", description="batchmean: sum over labels, mean over images; it decides what lambda means"
    )
    smoothing: Fraction = Field(0.0, description="label smoothing y (1 - eps) + eps / 2")


class OptimizerParams(Section):
    """AdamW or SGD, with the refiner's matrix in a group of its own, without weight decay."""

    name: Literal["adamw", "sgd"] = Field("adamw", description="adamw, or sgd with momentum")
    lr: Positive = Field(2e-4, description="base learning rate of head and refiner")
    backbone_lr_factor: NotNegative = Field(1.0, description="the backbone's learning rate is lr times this")
    weight_decay: NotNegative = Field(1e-4, description="of backbone and head")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    max_grad_norm: Positive = Field(1.0, description="bound of the global gradient norm")


class ScheduleParams(Section):
    """Learning rate over the epochs."""

    name: Literal["warmup_cosine", "step"] = Field(
        "warmup_cosine", description="linear warm-up then cosine to 0, or steps at epochs"
    )
    epochs: int = Field(3, ge=1, description="passes over the training folds")
    warmup_epochs: int = Field(1, ge=0, description="epochs of linear warm-up (warmup_cosine)")
    milestones: list[int] = Field([], description="epochs at whose start the rate falls, from 0 (step)")
    factor: Positive = Field(0.1, description="what it is multiplied by there (step)")

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


class EmaParams(Section):
    """Exponential moving average of the whole predictor, which is what is evaluated and saved."""

    enabled: bool = Field(True, description="evaluate and save the averaged weights")
    decay: float = Field(0.999, ge=0, lt=1, description="warmed up as min(decay, (1 + t) / (10 + t))")


class TrainParams(Section):
    """The training loop."""

    batch_size: int = Field(24, ge=2, description="images per step; a last short batch is dropped")
    precision: Literal["auto", "bf16", "fp16", "float32"] = Field(
        "auto", description="auto: bf16 where the device has it, fp16 on older GPUs, else float32"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one")
    arithmetic: Literal["portable", "native"] = Field(
        "native",
        description="native: the machine's fastest; portable: the same bytes on every x86-64 CPU with AVX2",
    )
    threads: int = Field(
        1, ge=1, description="CPU threads; a fixed number, because it changes the last digits"
    )
    patience: int = Field(3, ge=1, description="epochs without a better validation macro-AUC before it stops")
    max_skipped_in_a_row: int = Field(
        20, ge=1, description="non-finite batches in a row before it is an error"
    )
    checkpoint_minutes: Positive = Field(10.0, description="longest time between two checkpoints")

    @model_validator(mode="after")
    def _check(self) -> TrainParams:
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
        return self


class AugmentParams(Section):
    """The training view: one affine resampling per image."""

    crop: Literal["random_resized", "multi_scale", "none"] = Field(
        "random_resized", description="random_resized (paper 1), multi_scale (paper 2), none"
    )
    scale_min: float = Field(0.84, gt=0, le=1, description="smallest share of the area (random_resized)")
    scale_max: float = Field(1.0, gt=0, le=1, description="largest share of the area (random_resized)")
    ratio_min: Positive = Field(0.75, description="smallest width / height (random_resized)")
    ratio_max: Positive = Field(4 / 3, description="largest width / height (random_resized)")
    flip: Fraction = Field(0.5, description="probability of a horizontal flip")
    rotation: float = Field(10.0, ge=0, le=180, description="largest angle, in degrees either way")
    brightness: Fraction = Field(0.0, description="largest change of brightness (0.05: factor 0.95 to 1.05)")
    contrast: Fraction = Field(0.0, description="largest change of contrast")

    @model_validator(mode="after")
    def _check(self) -> AugmentParams:
        for low, high in (("scale_min", "scale_max"), ("ratio_min", "ratio_max")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(
                    f"augment.{low} = {getattr(self, low)} is above augment.{high} = {getattr(self, high)}"
                )
        return self


class InferenceParams(Section):
    """Prediction."""

    tta: bool = Field(True, description="average the probabilities of an image and its mirror image")
    batch_size: int = Field(48, ge=1, description="images per step, also of validation while training")


class Params(Section):
    """Everything in params.yaml."""

    preset: str = Field(
        "paper", pattern=r"^[a-z0-9_]+$", description="the preset these settings started from"
    )
    seed: int = Field(
        42, ge=0, le=2**32 - 1, description="of splits, initial weights, order and augmentation"
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

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dict with params.yaml's own keys (`lambda`, not `lambda_`), in the schema's order."""
        return self.model_dump(by_alias=True)


_SHORT = reprlib.Repr()  # of values in messages
_SHORT.maxstring = _SHORT.maxother = 100

# --- reading -----------------------------------------------------------------------------------------------


class _Yaml12Loader(yaml.SafeLoader):
    """YAML 1.2's core schema over PyYAML, as DVC reads it: `no` is a string, 2e-4 and 010 (ten) are numbers."""

    # Nothing but the core schema's kinds: no dates, sets or binary data, whatever a tag says.
    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (None, *(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "float", "str", "seq")))
    }


class _SettingsLoader(_Yaml12Loader):
    """Without aliases: a few hundred bytes of them can stand for more values than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, f"the alias *{event.anchor} is not allowed: write its value out", event.start_mark
            )
        return super().compose_node(parent, index)


_Yaml12Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Yaml12Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))


def _construct_int(loader: _Yaml12Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text)


def _construct_mapping(loader: _Yaml12Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: list[Any] = []
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is there twice: remove one of them", key_node.start_mark
            )
        seen.append(key)
    return loader.construct_mapping(node, deep=True)


_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def read_yaml(path: Path, loader: type[_Yaml12Loader] = _Yaml12Loader) -> dict[str, Any]:
    """Read a YAML 1.2 file whose top level is a mapping.

    Raises:
        UserError: the file is missing, is not YAML, has a key twice or is no mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # a SafeLoader
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run this in the project's root folder") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it holds characters that YAML does not allow"
        remedy = "" if ": " in problem else ": correct it, or restore the file from git"
        raise UserError(f"{path}{where}: {problem}{remedy}") from None
    except (ValueError, KeyError):  # an explicit tag on something else, or a number of thousands of digits
        raise UserError(f"{path} holds a number or switch that cannot be read: restore it from git") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply: restore it from git") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise UserError(f"{path} must hold keys and values, not {found}: see docs/presets.md")
    return content


def read_settings(path: Path) -> dict[str, Any]:
    """`read_yaml` for params.yaml and presets: without aliases."""
    return read_yaml(path, _SettingsLoader)


def load_params(path: str | Path = paths.PARAMS) -> Params:
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
        problems = [dict(problem) for problem in error.errors() if not _other_branch(dict(problem))]
        # An unknown key comes first: other errors may follow from the misspelling.
        problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
        lines = list(dict.fromkeys(_describe(problem) for problem in problems))
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise UserError(f"{origin}: {lines[0]}{more}") from None


def _other_branch(problem: dict[str, Any]) -> bool:
    # A union of one word and a mapping reports why the value is neither; one of the two was meant.
    branch = str(problem["loc"][-1])
    given_mapping = isinstance(problem["input"], dict)
    return branch.startswith("literal[" if given_mapping else "dict[")


def _describe(problem: dict[str, Any]) -> str:
    # A union adds its member's name to the location; only real keys are shown.
    location = [
        str(part) for part in problem["loc"] if not str(part).startswith(("literal[", "dict[", "[key]"))
    ]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}: {_nearest(location)}"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if problem["type"] == "invalid_key" or problem["loc"][-1] == "[key]":
        return f"the key {key} is not allowed: a key should be text"
    return f"{key} {what_is_wrong(problem)}"


def what_is_wrong(problem: dict[str, Any]) -> str:
    """The value that pydantic refuses, and what it should be: for any schema's messages."""
    value = problem["input"]
    shown = "nothing" if value is None else _SHORT.repr(value)
    expected = problem["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    if expected.startswith("dictionary"):
        expected = "keys with values"
    if problem["type"] == "string_pattern_mismatch":
        expected = f"text that matches {problem['ctx']['pattern']}"
    expected = {
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number",
        "string": "text",
        "list": "a list",
    }.get(expected, expected)
    return f"= {shown} is not allowed: it should be {expected}"


def _nearest(location: list[str]) -> str:
    section: type[BaseModel] = Params
    for name in location[:-1]:
        section = section.model_fields[name].annotation  # type: ignore[assignment]
    prefix = "".join(f"{name}." for name in location[:-1])
    siblings = [prefix + (field.alias or name) for name, field in section.model_fields.items()]
    key = ".".join(location)
    elsewhere = [full for full in all_keys() if full.split(".")[-1] == location[-1]]
    close = elsewhere or difflib.get_close_matches(key, [*siblings, *all_keys()], n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else f"allowed here: {', '.join(siblings)}"


def all_keys() -> list[str]:
    """Every leaf key of params.yaml in dotted form, in the schema's order.

    >>> [key for key in all_keys() if key.startswith("refiner")]
    ['refiner.enabled', 'refiner.alpha', 'refiner.lambda']
    """
    return list(flatten(Params().as_dict()))


# Mappings of a data set's, timm's or the user's own keys: one setting each, however many keys they hold.
OPEN_MAPPINGS = ("data.source_args", "data.uncertain", "model.backbone_args")


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


SOURCES: tuple[str, ...] = get_args(Source)
