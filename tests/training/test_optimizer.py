from __future__ import annotations

import pytest
import torch

from couplet.models.backbone import Backbone
from couplet.models.heads.db_dgcn import DualBranchDynamicGCN
from couplet.models.heads.linear import LinearHead
from couplet.models.predictor import Predictor
from couplet.models.refiner import LabelGraphRefiner
from couplet.settings.params import OptimizerParams
from couplet.training.optimizer import build_optimizer, set_learning_rate


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
