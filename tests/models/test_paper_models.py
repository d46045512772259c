"""The papers' own networks at their own sizes: they build, train two steps and predict.

In the precision that a CPU has: bf16 without its instructions takes minutes.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from couplet.models.device import autocast, resolve_precision
from couplet.models.predictor import Predictor, build_predictor
from couplet.settings.params import Params
from couplet.training.ema import EMA
from couplet.training.loss import build_loss
from couplet.training.optimizer import build_optimizer, set_learning_rate

CPU = torch.device("cpu")
PRECISION = resolve_precision("auto", CPU)
LABELS = [f"label {index}" for index in range(14)]


def paper_settings(size: int, **model) -> Params:
    content = Params().as_dict()
    content["model"] |= {"pretrained": False} | model
    content["image"] |= {"size": size, "store_size": size}
    return Params.model_validate(content)


def two_steps_and_an_evaluation(predictor: Predictor, params: Params) -> torch.Tensor:
    """As the training loop does it, with a batch of 2; gives the averaged predictor's logits."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, params.image.size, params.image.size).contiguous(
        memory_format=torch.channels_last
    )
    targets = (torch.rand(2, len(LABELS)) < 0.2).float()
    targets[0, 0] = float("nan")
    loss_of, optimizer = (
        build_loss(params.loss, targets.numpy()),
        build_optimizer(predictor, params.optimizer),
    )
    ema = EMA(predictor, params.ema.decay)
    before = {name: parameter.detach().clone() for name, parameter in predictor.named_parameters()}
    predictor.train()
    for factor in (0.5, 1.0):
        set_learning_rate(optimizer, factor)
        optimizer.zero_grad(set_to_none=True)
        with autocast(CPU, PRECISION):
            logits = predictor(images)
        assert logits.dtype == torch.float32
        loss = loss_of(logits, targets) + sum(predictor.loss_terms().values())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(predictor.parameters(), params.optimizer.max_grad_norm)
        assert bool(loss.isfinite()) and bool(norm.isfinite()) and norm > 0
        optimizer.step()
        ema.update()
    still = [name for name, parameter in predictor.named_parameters() if torch.equal(before[name], parameter)]
    assert still == []
    predictor.eval()
    with ema.applied(), torch.inference_mode(), autocast(CPU, PRECISION):
        return predictor(images)


def test_first_papers_network_at_380():
    params = paper_settings(380)
    assert params.model.backbone == "seresnext101_32x4d.gluon_in1k"
    predictor = build_predictor(params, LABELS, (42, 0))
    n_parameters = sum(parameter.numel() for parameter in predictor.parameters())
    assert round(n_parameters / 1e6, 1) == 46.9
    assert sum(parameter.numel() for parameter in predictor.refiner.parameters()) == 196
    predictor.to(memory_format=torch.channels_last)
    logits = two_steps_and_an_evaluation(predictor, params)
    assert logits.shape == (2, 14) and bool(logits.isfinite().all())


@pytest.mark.parametrize("normalize", [False, True])
def test_second_papers_network_at_448(normalize):
    head_args = {"normalize": normalize}
    params = paper_settings(448, backbone="resnet101.tv_in1k", head="db_dgcn", head_args=head_args)
    predictor = build_predictor(params, LABELS, (42, 0), train_truth=np.eye(14))
    assert sum(parameter.numel() for parameter in predictor.head.parameters()) == 7_450_862
    predictor.to(memory_format=torch.channels_last)
    logits = two_steps_and_an_evaluation(predictor, params)
    assert logits.dtype == torch.float32 and bool(logits.isfinite().all())
