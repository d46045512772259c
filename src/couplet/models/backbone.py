"""Backbones: any timm network without its classifier, with its features' shape and colours made known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_data_config
from timm.models import PretrainedCfg
from torch import Tensor, nn

from couplet.models.head import reads
from couplet.models.layers import append_pooling, freeze_first_layers
from couplet.models.pretrained import one_line, pretrained_tensors, published_config, weights_error
from couplet.models.squeeze import use_channels_last_squeeze
from couplet.project.errors import UserError
from couplet.settings.params import ModelParams

# What couplet decides itself, or what would load weights past `couplet.models.pretrained`.
RESERVED_ARGS = (
    "cache_dir",
    "checkpoint_path",
    "features_only",
    "global_pool",
    "in_chans",
    "num_classes",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "pretrained_strict",
)


class Backbone(nn.Module):
    """A timm network that gives pooled features (B, F) or a feature map (B, F, H, W).

    Attributes:
        num_features: F.
        weights: SHA-256 of the pretrained weights' file, or "none".
        frozen: modules of the network that never change (model.freeze).
    """

    def __init__(
        self,
        network: nn.Module,
        num_features: int,
        channels_last: bool,
        weights: str,
        frozen: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.frozen = tuple(frozen)
        self.num_features = num_features
        self.channels_last = channels_last
        self.weights = weights

    def train(self, mode: bool = True) -> Backbone:
        """Frozen layers stay in evaluation mode: no dropout, no drop path, batch statistics as they are."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) to features; the caller's autocast applies."""
        features = self.network(images)
        return features.permute(0, 3, 1, 2) if self.channels_last else features

    def feature_map(self, images: Tensor) -> Tensor | None:
        """The feature map (B, F, H, W) before any pooling; None where the network has none of F channels."""
        features: Tensor = self.network.forward_features(images)  # type: ignore[operator]
        if features.dim() != 4 or self.num_features not in (features.shape[1], features.shape[3]):
            return None
        return features if features.shape[1] == self.num_features else features.permute(0, 3, 1, 2)


def create_backbone(model: ModelParams, weights_folder: Path, image_size: int | None = None) -> Backbone:
    """Build the backbone of `model` for its head: pooled by timm, or with its feature map if the head reads that.

    Initial weights are drawn from torch's global generator; see `build_predictor` for seeding it.

    Args:
        model: the section `model` of params.yaml.
        weights_folder: where <backbone>.safetensors is looked for first (data/weights).
        image_size: S; one black image of this size is tried. None: the network's own size.

    Raises:
        UserError: an unknown name, tag or argument, weights that are missing or do not fit, an image size
            that the network cannot take, or a head that needs a feature map where the network has none.
    """
    config = published_config(model)
    arguments = {key: _tuples(value) for key, value in model.backbone_args.items()}
    for key in sorted(set(arguments) & set(RESERVED_ARGS)):
        raise UserError(f"model.backbone_args.{key} is decided by the pipeline: remove it")
    arguments["num_classes"] = 0
    if reads(model) == "map":
        arguments["global_pool"] = ""
    if model.pretrained:
        tensors, digest = pretrained_tensors(model.backbone, config, weights_folder)
        network = _build_pretrained(model, arguments, config, tensors)
    else:
        network, digest = _build(model, arguments), "none"
    use_channels_last_squeeze(network)
    if model.extra_pool:
        append_pooling(network, model.extra_pool, model.backbone)
    num_features, channels_last = _probe(network, model, image_size)
    frozen = freeze_first_layers(network, model.freeze, model.backbone)
    return Backbone(network, num_features, channels_last, digest, frozen).train()


def normalisation(backbone: Backbone) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation per colour channel, in [0, 1] units, that the backbone's weights expect."""
    config = resolve_data_config({}, model=backbone.network)
    mean, std = tuple(config["mean"]), tuple(config["std"])
    return mean, std


# --- building ----------------------------------------------------------------------------------------------


def _build(model: ModelParams, arguments: dict[str, Any]) -> nn.Module:
    try:
        return timm.create_model(model.backbone, pretrained=False, **arguments)
    except Exception as error:  # timm's networks check their arguments with whatever comes to hand
        given = f" with model.backbone_args = {model.backbone_args}" if model.backbone_args else ""
        raise UserError(
            f"timm cannot build model.backbone = {model.backbone}{given} for model.head = {model.head}: "
            f"{one_line(error)}: correct model.backbone_args or model.head"
        ) from None


def _build_pretrained(
    model: ModelParams, arguments: dict[str, Any], config: PretrainedCfg, tensors: dict[str, Tensor]
) -> nn.Module:
    # timm drops its classifier by loading non-strictly, and a file that lacks half the layers would pass in
    # silence. So the classifier is dropped here, and timm's own loading stays strict.
    names = (config.classifier,) if isinstance(config.classifier, str) else config.classifier or ()
    kept = {key: value for key, value in tensors.items() if not key.startswith(tuple(f"{n}." for n in names))}
    if not kept:  # timm would take an empty dict for none and ask the hub
        raise weights_error(model.backbone, "the file holds no weights")
    overlay = {"state_dict": kept, "classifier": None, "num_classes": 0}
    try:
        network = timm.create_model(
            model.backbone, pretrained=True, pretrained_cfg_overlay=overlay, **arguments
        )
    except Exception as error:
        _build(model, arguments)  # if it is the arguments that are wrong, this says so
        raise weights_error(
            model.backbone, f"the weights do not fit this network ({one_line(error)})"
        ) from None
    published: Any = network.pretrained_cfg
    del published["state_dict"]  # a second copy of every weight
    return network


def _probe(network: nn.Module, model: ModelParams, image_size: int | None) -> tuple[int, bool]:
    """Channels of the features, and whether the map comes as (B, H, W, F)."""
    size = image_size or resolve_data_config({}, model=network)["input_size"][-1]
    network.eval()
    try:
        with torch.no_grad():
            shape = network(torch.zeros(1, 3, size, size)).shape
    except Exception as error:
        raise UserError(
            f"image.size = {size} does not fit model.backbone = {model.backbone} ({one_line(error)}): "
            "change image.size, or model.backbone_args where the network takes img_size"
        ) from None
    network.train()
    widths = {network.num_features, getattr(network, "head_hidden_size", None)}
    wanted = reads(model)
    if wanted == "vector" and len(shape) == 2:
        return shape[1], False
    if wanted == "map" and len(shape) == 4 and {shape[1], shape[3]} & widths:
        channels_last = shape[1] not in widths
        return shape[3 if channels_last else 1], channels_last
    chain = model.levels.kind == "ag_cnn"
    reader = "model.levels.kind = ag_cnn" if chain else f"model.head = {model.head}"
    raise UserError(
        f"{reader} cannot read model.backbone = {model.backbone}, whose features have the shape {tuple(shape)}: choose "
        f"a backbone with a spatial feature map, or {'model.levels.kind=single' if chain else 'model.head=linear'}"
    )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
