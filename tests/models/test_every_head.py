"""Every head with and without the refiner, on 14 labels (X-rays) and on 80 (COCO): none is refused."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from couplet.images.loading.draws import weights_seed
from couplet.models.backbone import Backbone
from couplet.models.head import HeadInputs, build_head
from couplet.models.predictor import Predictor, build_refiner
from couplet.settings.params import Params
from couplet.settings.schema.plugins import HEADS
from couplet.training.loss import build_loss
from tests.support.heads import SMALL_HEADS
from tests.support.params import params_with

FEATURES = 16
REFINERS: dict[str, dict[str, object]] = {
    "off": {"refiner.enabled": False},
    "joint": {},
    "calibrated, taught, gated": {
        "refiner.message": "calibrated",
        "refiner.teach": 0.5,
        "refiner.conditional": "gate",
    },
    "proximal, two steps": {"refiner.sparsity": "proximal", "refiner.steps": 2},
}


def one_step(params: Params, n_labels: int) -> tuple[Predictor, Tensor, Tensor]:
    """A predictor of features after the backward pass of a step on two of them, its logits, and the loss."""
    random = np.random.default_rng(3)
    truth = (random.random((12, n_labels)) < 0.3).astype(float)
    truth[0, 0] = np.nan
    torch.manual_seed(weights_seed(42, 0))
    head = build_head(params.model, HeadInputs(FEATURES, n_labels, params.model.dropout, truth))
    refiner = build_refiner(params.refiner, params.loss, n_labels, FEATURES, truth)
    # In the place of a backbone: what reads features does not ask where they come from.
    predictor = Predictor(cast(Backbone, nn.Identity()), head, refiner).train()
    torch.manual_seed(1)
    shown = head.shown(torch.tensor(truth[:2], dtype=torch.float32))
    known = torch.full_like(shown, torch.nan)
    known[0] = shown[0]
    features = torch.randn((2, FEATURES) if head.reads == "vector" else (2, FEATURES, 3, 4)).relu()
    logits = predictor(features, known if predictor.taught_share else None)
    loss = build_loss(params.loss, truth)(logits, shown) + sum(predictor.loss_terms().values())
    loss.backward()
    return predictor, logits, loss


@pytest.mark.parametrize("n_labels", [14, 80])
@pytest.mark.parametrize("head", HEADS.names())
def test_it_learns_with_every_refiner_and_without_from_the_same_start(head: str, n_labels: int) -> None:
    model: dict[str, object] = {
        "model.head": head,
        "model.head_args": SMALL_HEADS.get(head, {}),
        "model.pretrained": False,
    }
    found = {name: one_step(params_with(model | more), n_labels) for name, more in REFINERS.items()}
    for name, (predictor, logits, loss) in found.items():
        assert logits.shape == (2, n_labels) and logits.dtype == torch.float32, name
        assert bool(loss.isfinite()), name
        learning = [p.grad for p in predictor.head.parameters() if p.requires_grad]
        assert all(grad is not None and bool(grad.isfinite().all()) for grad in learning), name
        # A starts at zero: all of them start as the same network.
        torch.testing.assert_close(logits, found["off"][1], rtol=0, atol=0)
        if name == "off":
            assert predictor.refiner is None
            continue
        assert predictor.refiner is not None
        grad = predictor.refiner.A.grad
        assert grad is not None and bool(grad.isfinite().all()) and float(grad.abs().max()) > 0, name
