"""Layers that never change, and one more pooling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import nn
from torch.nn import functional as F

from couplet.models.backbone import Backbone, create_backbone
from couplet.models.layers import append_pooling, freeze_first_layers
from couplet.settings.params import ModelParams
from couplet.training.loop import Trainer
from tests.support.errors import refused
from tests.support.folds import made_up_fold, settings, trainer

THIN = {"depths": [1, 1, 2, 1], "dims": [8, 8, 16, 16], "drop_path_rate": 0.5}


def backbone(**changes: Any) -> Backbone:
    model = {"backbone": "convnext_tiny", "pretrained": False, "backbone_args": THIN} | changes
    return create_backbone(ModelParams.model_validate(model), Path("data/weights"), 64)


# --- freeze ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "share", "frozen", "total"),
    [
        ("convnextv2_base", 0.7708, 49_573_888, 87_692_800),  # 29 of 38: the stem, 3, 3 and 22 of 27 blocks
        ("convnextv2_base", 1.0, 87_692_800, 87_692_800),
        ("resnet50", 4 / 17, 225_344, 23_508_032),  # the stem and layer1
    ],
)
def test_the_share_is_of_timms_layers(name: str, share: float, frozen: int, total: int) -> None:
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=0)
    freeze_first_layers(network, share, name)
    sizes = {True: 0, False: 0}
    for parameter in network.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    assert (sizes[False], sum(sizes.values())) == (frozen, total)
    if (name, share) == ("convnextv2_base", 0.7708):
        off = [key for key, parameter in network.named_parameters() if not parameter.requires_grad]
        assert len(off) == 292 and off[-1] == "stages.2.blocks.21.mlp.fc2.bias"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], Trainer]:
    """What the weights were, and a run of three steps: 9 layers of a ResNet-18, of which 4 are frozen."""
    data = made_up_fold(tmp_path_factory.mktemp("prepared"))
    run = trainer(data, settings(model__freeze=0.45, schedule__epochs=1, schedule__warmup_epochs=0))
    start = {key: value.clone() for key, value in run.predictor.state_dict().items()}
    run.run(tmp_path_factory.mktemp("run"))
    assert run.progress.steps == 3
    return start, run


def test_frozen_layers_keep_their_bytes_and_all_others_move(
    trained: tuple[dict[str, torch.Tensor], Trainer],
) -> None:
    start, run = trained
    stays = ("conv1.", "bn1.", "layer1.0.", "layer1.1.", "layer2.0.")
    frozen = {key for key in start if key.startswith(tuple(f"backbone.network.{name}" for name in stays))}
    assert any("running_mean" in key for key in frozen)
    for state in (run.predictor.state_dict(), run.best):
        same = {key for key, value in state.items() if torch.equal(value, start[key])}
        assert same - {"refiner.A"} == frozen, "A starts at 0 and moves with the labels"


def test_in_training_frozen_layers_drop_nothing() -> None:
    part = backbone(freeze=0.5)
    assert [key for key, _ in part.network.named_parameters()] == [
        key for key, _ in backbone().network.named_parameters()
    ]
    kept = [m for m in part.network.modules() if isinstance(m, DropPath) and m.drop_prob > 0]
    assert {m.training for m in kept} == {True, False}
    for module in part.network.modules():
        own = list(module.parameters())
        if own and not any(p.requires_grad for p in own):
            assert not any(child.training for child in module.modules())
        elif own and all(p.requires_grad for p in own):
            assert module.training
    part.eval().train()
    assert {m.training for m in kept} == {True, False}
    whole, images = backbone(freeze=1.0), torch.randn(2, 3, 64, 64)
    features = whole(images)
    assert torch.equal(features, whole.eval()(images)) and not features.requires_grad
    assert backbone().training and backbone()(images).requires_grad


def test_features_off_the_shelf_still_train_a_head(tmp_path: Path) -> None:
    data = made_up_fold(tmp_path)
    run = trainer(data, settings(model__freeze=1.0, schedule__epochs=1, schedule__warmup_epochs=0))
    start = {key: value.clone() for key, value in run.predictor.state_dict().items()}
    run.run(tmp_path / "run")
    moved = {key for key, value in run.predictor.state_dict().items() if not torch.equal(value, start[key])}
    assert moved - {"refiner.A"} == {"head.classifier.weight", "head.classifier.bias"}


def test_a_share_that_freezes_nothing_and_a_network_without_layers_are_refused() -> None:
    assert refused(backbone, freeze=0.01) == (
        "model.freeze = 0.01 is less than half of one of the 7 layers of model.backbone = convnext_tiny: set it to 0 "
        "or raise it"
    )
    assert refused(freeze_first_layers, nn.Linear(1, 1), 0.5, "dense") == (
        "timm does not number the layers of model.backbone = dense: set model.freeze to 0"
    )


# --- extra pooling --------------------------------------------------------------------------------------------


def test_the_last_map_stays_7_by_7_at_twice_the_side() -> None:
    with torch.device("meta"):
        network = timm.create_model("resnet50", layers=(2, 3, 5, 2), num_classes=0, global_pool="")
        keys = list(network.state_dict())
        assert network(torch.empty(1, 3, 224, 224)).shape[2:] == (7, 7)
        append_pooling(network, "layer1", "resnet50")
        assert network(torch.empty(1, 3, 448, 448)).shape[2:] == (7, 7)
    assert list(network.state_dict()) == keys
    assert sum(parameter.numel() for parameter in network.parameters()) == 17_577_792


@torch.no_grad()
def test_it_pools_what_the_stage_gives() -> None:
    thin = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}
    found = backbone(backbone="resnet18", backbone_args=thin, extra_pool="layer1", head="gmp").eval()
    network, images = found.network, torch.randn(2, 3, 64, 64)
    x = network.maxpool(network.act1(network.bn1(network.conv1(images))))
    x = F.max_pool2d(network.layer1[0](x), 3, 2, 1)
    assert torch.equal(found(images), network.layer4(network.layer3(network.layer2(x))))
    assert found(images).shape == (2, 16, 1, 1)


def test_a_stage_that_is_not_there_is_refused() -> None:
    assert refused(backbone, backbone="resnet18", backbone_args={}, extra_pool="layer9") == (
        "model.extra_pool = 'layer9' is no sequence of layers of model.backbone = resnet18: it should be one, for "
        "example layer1, layer2, layer3, layer4"
    )
    assert "for example layer1" in refused(
        backbone, backbone="resnet18", backbone_args={}, extra_pool="conv1"
    )
