from __future__ import annotations

import pytest
import torch
from timm.optim import param_groups_weight_decay

from couplet.heads.db_dgcn import DualBranchDynamicGCN
from couplet.heads.linear import LinearHead
from couplet.models.backbone import Backbone
from couplet.models.predictor import Predictor, build_predictor
from couplet.models.refiner import LabelGraphRefiner
from couplet.settings.params import OptimizerParams
from couplet.training.optimizer import build_optimizer, set_learning_rate
from tests.support.params import params_with


def small_predictor(refiner: bool = True) -> Predictor:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
    backbone = Backbone(network, 5, channels_last=False, weights="none")
    return Predictor(backbone, LinearHead(5, 3), LabelGraphRefiner(3, 0.3) if refiner else None)


def test_groups_cover_every_parameter_once():
    predictor = small_predictor()
    optimizer = build_optimizer(
        predictor, OptimizerParams(lr=0.05, backbone_lr_factor=0.1, weight_decay=1e-4)
    )
    assert isinstance(optimizer, torch.optim.AdamW)
    rows = [
        (group["name"], group["lr"], group["base_lr"], group["weight_decay"], group["fused"])
        for group in optimizer.param_groups
    ]
    assert rows == [
        ("backbone", pytest.approx(0.005), pytest.approx(0.005), 1e-4, True),
        ("head", 0.05, 0.05, 1e-4, True),
        ("refiner", 0.05, 0.05, 0.0, True),
    ]
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in predictor.parameters())
    assert optimizer.param_groups[2]["params"] == [predictor.refiner.A]


def test_the_ablation_has_the_same_groups_less_the_refiner():
    optimizer = build_optimizer(small_predictor(refiner=False), OptimizerParams())
    assert [group["name"] for group in optimizer.param_groups] == ["backbone", "head"]


@pytest.mark.parametrize("head", ["mlp", "label_mlp"])
def test_what_does_not_decay_is_what_timm_says(head: str):
    """Biases, norms and Swin's own position tables; of label_mlp each label's biases, which are rows of a table."""
    arguments = {"img_size": 64, "window_size": 2, "depths": [1, 1, 1, 1], "embed_dim": 16}
    params = params_with(
        {
            "image.size": 64,
            "model.backbone": "swin_tiny_patch4_window7_224",
            "model.pretrained": False,
            "model.backbone_args": arguments,
            "model.head": head,
            "model.head_args": {"hidden": [8]},
            "refiner.conditional": "gate",
        }
    )
    predictor = build_predictor(params, ["a", "b", "c"], 0)
    settings = OptimizerParams(lr=0.05, backbone_lr_factor=0.1, weight_decay=0.05, decay_vectors=False)
    optimizer = build_optimizer(predictor, settings)
    by_name = {group["name"]: group for group in optimizer.param_groups}
    assert list(by_name) == [
        "backbone",
        "backbone_vectors",
        "head",
        "head_vectors",
        "refiner",
        "gate",
        "gate_vectors",
    ]
    decays = [by_name[name]["weight_decay"] for name in by_name]
    assert decays == [0.05, 0.0, 0.05, 0.0, 0.0, 0.05, 0.0]
    assert [by_name[name]["lr"] for name in by_name] == pytest.approx([0.005, 0.005, *[0.05] * 5])

    network = predictor.backbone.network
    timms = param_groups_weight_decay(network, 0.05, no_weight_decay_list=network.no_weight_decay())
    for name, group in zip(("backbone_vectors", "backbone"), timms, strict=True):
        assert [id(p) for p in by_name[name]["params"]] == [id(p) for p in group["params"]]
    names = {id(p): name for name, p in predictor.named_parameters()}
    kept = {
        names[id(p)] for name in by_name if not by_name[name]["weight_decay"] for p in by_name[name]["params"]
    }
    assert any("relative_position_bias_table" in name for name in kept)
    for name, parameter in predictor.named_parameters():
        table = "relative_position" in name or name.startswith("head.biases.") or name == "refiner.A"
        assert (name in kept) == (parameter.ndim <= 1 or table), name
    every = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(every) == sorted(names)


def test_frozen_parameters_are_left_out():
    predictor = small_predictor()
    predictor.head = DualBranchDynamicGCN(5, 3, dim=2, static_trainable=False)
    optimizer = build_optimizer(predictor, OptimizerParams())
    assert all(p is not predictor.head.static_adjacency for p in optimizer.param_groups[1]["params"])


def test_set_learning_rate_multiplies_each_groups_base():
    optimizer = build_optimizer(small_predictor(), OptimizerParams(lr=0.2, backbone_lr_factor=0.5))
    for factor in (0.5, 0.25, 1.0):
        set_learning_rate(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
            [0.1 * factor, 0.2 * factor, 0.2 * factor]
        )


def test_adamw_decays_backbone_and_head_but_never_the_couplings():
    predictor = small_predictor()
    with torch.no_grad():
        predictor.refiner.A.fill_(1.0)
    before = {name: p.detach().clone() for name, p in predictor.named_parameters()}
    optimizer = build_optimizer(predictor, OptimizerParams(lr=0.1, weight_decay=0.5))
    for parameter in predictor.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in predictor.named_parameters():
        kept = 1.0 if name == "refiner.A" else 1 - 0.1 * 0.5
        torch.testing.assert_close(parameter.detach(), before[name] * kept)


def test_sgd_with_momentum_by_hand():
    predictor = small_predictor()
    optimizer = build_optimizer(
        predictor, OptimizerParams(name="sgd", lr=0.1, momentum=0.9, weight_decay=0.0)
    )
    assert isinstance(optimizer, torch.optim.SGD)
    bias = predictor.head.classifier.bias
    start = bias.detach().clone()
    for _ in range(2):
        for parameter in predictor.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    torch.testing.assert_close(bias.detach(), start - 0.1 * (1 + 1.9))


def test_a_learning_rate_of_zero_changes_nothing():
    predictor = small_predictor()
    before = {name: p.detach().clone() for name, p in predictor.named_parameters()}
    optimizer = build_optimizer(predictor, OptimizerParams())
    set_learning_rate(optimizer, 0.0)
    for parameter in predictor.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(torch.equal(before[name], p) for name, p in predictor.named_parameters())
