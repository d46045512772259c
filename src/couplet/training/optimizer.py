"""The optimiser: one group each for backbone, head, the refiner's matrix and its gate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.nn import Parameter

from couplet.models.predictor import Predictor
from couplet.settings.params import OptimizerParams
from couplet.training.proximal import ProximalStep


def build_optimizer(predictor: Predictor, optimizer: OptimizerParams) -> torch.optim.Optimizer:
    """AdamW or SGD over the trainable parameters.

    Groups, in this order and by `name`: `backbone` (learning rate lr * backbone_lr_factor), `head` (lr), with a
    refiner `refiner` (A; lr * refiner.lr_factor, never weight decay: its own penalty alone is to pull A to zero), and
    with a gate `gate` (as the head). Each group's `base_lr` is what `set_learning_rate` multiplies. With
    refiner.sparsity: proximal each step ends with the couplings' proximal step.

    Args:
        predictor: already on its device; the fused implementations take what they need from there.
        optimizer: the section `optimizer` of params.yaml.
    """
    built = _build(predictor, optimizer)
    if predictor.refiner is not None and predictor.refiner.proximal:
        step = ProximalStep(predictor.refiner.A, predictor.refiner.sparsity)
        built.register_step_post_hook(step)
    return built


def _build(predictor: Predictor, optimizer: OptimizerParams) -> torch.optim.Optimizer:
    backbone_lr = optimizer.lr * optimizer.backbone_lr_factor
    parts: list[tuple[str, Iterable[Parameter], float, float]] = [
        ("backbone", predictor.backbone.parameters(), backbone_lr, optimizer.weight_decay),
        ("head", predictor.head.parameters(), optimizer.lr, optimizer.weight_decay),
    ]
    refiner = predictor.refiner
    if refiner is not None:
        parts.append(("refiner", [refiner.A], optimizer.lr * refiner.lr_factor, 0.0))
        if refiner.gate is not None:
            parts.append(("gate", refiner.gate.parameters(), optimizer.lr, optimizer.weight_decay))
    groups: list[dict[str, Any]] = [
        {
            "name": name,
            "params": [parameter for parameter in parameters if parameter.requires_grad],
            "lr": lr,
            "base_lr": lr,
            "weight_decay": weight_decay,
        }
        for name, parameters, lr, weight_decay in parts
    ]
    if optimizer.name == "sgd":
        sgd = torch.optim.SGD(groups, lr=optimizer.lr, momentum=optimizer.momentum, fused=True)
        if optimizer.momentum:
            # The fused step would leave them as whatever was in memory if the very first batch is skipped.
            for parameter in (parameter for group in groups for parameter in group["params"]):
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    return torch.optim.AdamW(groups, lr=optimizer.lr, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to `factor` times its base."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
