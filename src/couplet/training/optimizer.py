"""The optimiser: one group each for backbone, head, the refiner's matrix and its gate."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from timm.optim import param_groups_weight_decay
from torch import nn
from torch.nn import Parameter

from couplet.models.predictor import Predictor
from couplet.settings.params import OptimizerParams
from couplet.training.proximal import ProximalStep

Part = tuple[str, Iterable[Parameter], float, float]
"""Name, parameters, learning rate and weight decay of a group."""


def build_optimizer(predictor: Predictor, optimizer: OptimizerParams) -> torch.optim.Optimizer:
    """AdamW or SGD over the trainable parameters, of a chain of networks those of the level that is trained.

    Groups, in this order and by `name`: `backbone` (learning rate lr * backbone_lr_factor), `head` (lr), with a
    refiner `refiner` (A; lr * refiner.lr_factor, never weight decay: its own penalty alone is to pull A to zero), and
    with a gate `gate` (as the head). Each group's `base_lr` is what `set_learning_rate` multiplies. With
    refiner.sparsity: proximal each step ends with the couplings' proximal step.

    With decay_vectors: false what is not to decay is a group of its own behind the rest, `backbone_vectors` and so on:
    biases, parameters of one dimension, and what a module names in `no_weight_decay` (timm's rule).

    Args:
        predictor: already on its device; the fused implementations take what they need from there.
        optimizer: the section `optimizer` of params.yaml.
    """
    built = _build(predictor, optimizer)
    if predictor.refiner is not None and predictor.refiner.proximal and predictor.at_last:
        step = ProximalStep(predictor.refiner.A, predictor.refiner.sparsity)
        built.register_step_post_hook(step)
    return built


def _build(predictor: Predictor, optimizer: OptimizerParams) -> torch.optim.Optimizer:
    backbone_lr = optimizer.lr * optimizer.backbone_lr_factor
    backbone = predictor.trained_backbone
    parts = [
        *(_decaying("backbone", backbone.network, backbone_lr, optimizer) if backbone else []),
        *_decaying("head", predictor.trained_head, optimizer.lr, optimizer),
    ]
    refiner = predictor.refiner
    if refiner is not None:
        parts.append(("refiner", [refiner.A], optimizer.lr * refiner.lr_factor, 0.0))
        if refiner.gate is not None:
            parts += _decaying("gate", refiner.gate, optimizer.lr, optimizer)
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


def _decaying(name: str, module: nn.Module, lr: float, optimizer: OptimizerParams) -> list[Part]:
    """A module's parameters, and where vectors do not decay those that do not."""
    if optimizer.decay_vectors:
        return [(name, module.parameters(), lr, optimizer.weight_decay)]
    named: Collection[str] = getattr(module, "no_weight_decay", set)()
    # Any weight decay: with 0 timm would put everything into one group.
    kinds = param_groups_weight_decay(module, 1.0, no_weight_decay_list=named)
    matrices, vectors = (
        [p for kind in kinds if bool(kind["weight_decay"]) == decays for p in kind["params"]]
        for decays in (True, False)
    )
    return [(name, matrices, lr, optimizer.weight_decay), (f"{name}_vectors", vectors, lr, 0.0)]


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to `factor` times its base."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
