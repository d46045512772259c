"""The optimiser: one group each for backbone, head and the refiner's matrix."""

from __future__ import annotations

from typing import Any

import torch

from couplet.models.predictor import Predictor
from couplet.settings.params import OptimizerParams


def build_optimizer(predictor: Predictor, optimizer: OptimizerParams) -> torch.optim.Optimizer:
    """AdamW or SGD over the trainable parameters.

    Groups, in this order and by `name`: `backbone` (learning rate lr * backbone_lr_factor), `head` (lr), and
    with a refiner `refiner` (lr, never weight decay: the L1 term alone is to pull A to zero). Each group's
    `base_lr` is what `set_learning_rate` multiplies.

    Args:
        predictor: already on its device; the fused implementations take what they need from there.
        optimizer: the section `optimizer` of params.yaml.
    """
    modules: list[tuple[str, torch.nn.Module, float, float]] = [
        ("backbone", predictor.backbone, optimizer.lr * optimizer.backbone_lr_factor, optimizer.weight_decay),
        ("head", predictor.head, optimizer.lr, optimizer.weight_decay),
    ]
    if predictor.refiner is not None:
        modules.append(("refiner", predictor.refiner, optimizer.lr, 0.0))
    groups: list[dict[str, Any]] = [
        {
            "name": name,
            "params": [parameter for parameter in module.parameters() if parameter.requires_grad],
            "lr": lr,
            "base_lr": lr,
            "weight_decay": weight_decay,
        }
        for name, module, lr, weight_decay in modules
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
