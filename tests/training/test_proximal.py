"""The proximal step: by hand, against a known lasso solution, after a skipped batch."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import Parameter

from couplet.heads.linear import LinearHead
from couplet.models.backbone import Backbone
from couplet.models.predictor import Predictor
from couplet.models.refiner import LabelGraphRefiner
from couplet.settings.params import OptimizerParams
from couplet.training import proximal
from couplet.training.optimizer import build_optimizer
from couplet.training.proximal import ProximalStep, soft_threshold


def test_soft_threshold() -> None:
    values, threshold = (
        torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0]),
        torch.tensor([0.5, 0.5, 0.5, 0.6, math.inf]),
    )
    assert soft_threshold(values, threshold).tolist() == [-1.5, 0, 0, 0, 0]


def step_once(
    optimizer: torch.optim.Optimizer, values: Parameter, gradient: list[float], skip: bool = False
) -> None:
    values.grad = torch.tensor(gradient)
    optimizer.found_inf = torch.tensor(float(skip))  # type: ignore[attr-defined]
    optimizer.step()


def test_one_step_after_adamw_by_hand() -> None:
    values = Parameter(torch.tensor([1.0, -0.5, 0.02]))
    optimizer = torch.optim.AdamW([values], lr=0.1, weight_decay=0.0, fused=True)
    optimizer.register_step_post_hook(ProximalStep(values, 0.04))
    gradient = [0.3, -0.2, 0.1]
    step_once(optimizer, values, gradient)
    expected = []
    for start, g in zip([1.0, -0.5, 0.02], gradient, strict=True):
        moved = start - 0.1 * g / (abs(g) + 1e-8)  # the first step of Adam is the learning rate
        threshold = 0.1 * 0.04 * 0.3 / (abs(moved) + 0.3) / (abs(g) + 1e-8)
        expected.append(math.copysign(max(abs(moved) - threshold, 0), moved))
    assert values.tolist() == pytest.approx(expected, rel=1e-5)
    # A second one, with the second moment that Adam has by then.
    before = values.tolist()
    second = [0.1, 0.4, -0.1]
    step_once(optimizer, values, second)
    expected = []
    for start, g, h in zip(before, gradient, second, strict=True):
        m = (0.9 * 0.1 * g + 0.1 * h) / (1 - 0.9**2)
        root = math.sqrt((0.999 * 0.001 * g * g + 0.001 * h * h) / (1 - 0.999**2)) + 1e-8
        moved = start - 0.1 * m / root
        threshold = 0.1 * 0.04 * 0.3 / (abs(moved) + 0.3) / root
        expected.append(math.copysign(max(abs(moved) - threshold, 0), moved))
    assert values.tolist() == pytest.approx(expected, rel=1e-4)


def test_one_step_after_sgd_by_hand() -> None:
    values = Parameter(torch.tensor([1.0, 0.01]))
    optimizer = torch.optim.SGD([values], lr=0.1, momentum=0.9, fused=True)
    optimizer.state[values]["momentum_buffer"] = torch.zeros_like(values)
    optimizer.register_step_post_hook(ProximalStep(values, 2.0))
    step_once(optimizer, values, [1.0, 0.0])
    assert values.tolist() == pytest.approx([0.9 - 0.2 * 0.3 / 1.2, 0.0])


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_quadratic_ends_at_its_lasso_solution_with_exact_zeros(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(h/2) (a - b)^2 + lambda |a| has its minimum at S(b, lambda / h), whatever the optimiser's metric."""
    monkeypatch.setattr(proximal, "REWEIGHTING", 1e9)  # w = 1: the plain lasso
    target = torch.tensor([2.0, -1.0, 0.3, -0.05, 0.0, 0.6])
    curvature = torch.tensor([1.0, 4.0, 1.0, 0.5, 1.0, 0.2])
    values, weight = Parameter(torch.full((6,), 0.7)), 0.4
    optimizer: torch.optim.Optimizer
    if name == "adamw":
        optimizer = torch.optim.AdamW([values], lr=0.05, weight_decay=0.0, fused=True)
    else:
        optimizer = torch.optim.SGD([values], lr=0.05, fused=True)
    optimizer.register_step_post_hook(ProximalStep(values, weight))
    for step in range(4000):
        optimizer.param_groups[0]["lr"] = 0.05 * 0.5 * (1 + math.cos(math.pi * step / 4000))
        step_once(optimizer, values, (curvature * (values.detach() - target)).tolist())
    solution = soft_threshold(target, weight / curvature)
    assert solution.tolist() == pytest.approx([1.6, -0.9, 0, 0, 0, 0])
    assert values[2:].tolist() == [0.0, 0.0, 0.0, 0.0]
    assert values[:2].tolist() == pytest.approx([1.6, -0.9], abs=2e-3)


def test_large_values_are_shrunk_less() -> None:
    values = Parameter(torch.tensor([3.0, 0.3]))
    optimizer = torch.optim.SGD([values], lr=1.0)
    ProximalStep(values, 0.1)(optimizer)
    assert values.tolist() == pytest.approx([3 - 0.1 / 11, 0.3 - 0.1 / 2])


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("first", [True, False])
def test_a_skipped_step_changes_nothing(name: str, first: bool) -> None:
    torch.manual_seed(0)
    backbone = Backbone(torch.nn.Flatten(), 4, channels_last=False, weights="none")
    predictor = Predictor(backbone, LinearHead(4, 3), LabelGraphRefiner(3, 0.3, 0.5, proximal=True))
    assert predictor.refiner is not None
    optimizer = build_optimizer(predictor, OptimizerParams(name=name, lr=0.1))  # type: ignore[arg-type]
    values = predictor.refiner.A
    with torch.no_grad():
        values.normal_()
    for parameter in predictor.parameters():
        parameter.grad = torch.zeros_like(parameter)
    if not first:
        step_once(optimizer, values, torch.ones(3, 3).tolist())
    before = values.detach().clone()
    step_once(optimizer, values, torch.full((3, 3), math.nan).tolist(), skip=True)
    assert torch.equal(values, before)
    step_once(optimizer, values, torch.ones(3, 3).tolist())
    assert bool(values.isfinite().all()) and not torch.equal(values, before)


def test_only_a_proximal_refiner_has_the_step_and_its_group_has_its_own_learning_rate() -> None:
    for proximal_ in (False, True):
        backbone = Backbone(torch.nn.Flatten(), 4, channels_last=False, weights="none")
        refiner = LabelGraphRefiner(3, 0.3, 0.5, proximal=proximal_, lr_factor=30.0)
        optimizer = build_optimizer(Predictor(backbone, LinearHead(4, 3), refiner), OptimizerParams(lr=0.01))
        hooks = list(optimizer._optimizer_step_post_hooks.values())
        assert [type(hook) for hook in hooks] == [ProximalStep] * proximal_
        rates = {group["name"]: (group["base_lr"], group["weight_decay"]) for group in optimizer.param_groups}
        assert rates == {"backbone": (0.01, 1e-4), "head": (0.01, 1e-4), "refiner": (pytest.approx(0.3), 0.0)}
