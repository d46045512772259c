"""The product's own predictor, loss, optimiser and step on made-up features: what its couplings gain where they can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from couplet.evaluation.metrics import auc_per_label
from couplet.images.loading.draws import epoch_order, image_keys, taught
from couplet.models.backbone import Backbone
from couplet.models.head import HeadInputs, build_head
from couplet.models.predictor import Predictor
from couplet.models.refiner import build_refiner
from couplet.project.project import Project
from couplet.settings.presets import load_preset
from couplet.training.ema import EMA
from couplet.training.loss import build_loss
from couplet.training.optimizer import build_optimizer
from couplet.training.schedule import learning_rate_factor
from couplet.training.step import Batch, Step
from tests.couplings_probe import KnownCouplings, Sample
from tests.support.params import params_with
from tests.support.projects import ROOT

N_TRAIN, N_TEST, BATCH = 8_000, 20_000, 24
_preset = load_preset("couplings_joint", Project(ROOT)).as_dict()["refiner"]
JOINT = {f"refiner.{key}": value for key, value in _preset.items()}
OFF = {"refiner.enabled": False}


@dataclass(frozen=True)
class Trained:
    """A predictor that was trained on a world, and its logits on fresh images of it."""

    predictor: Predictor
    test: Sample
    logits: np.ndarray

    def auc(self, labels: np.ndarray) -> float:
        """Mean AUC of some labels."""
        return float(np.mean(auc_per_label(self.test.truth, self.logits)[labels]))

    @property
    def couplings(self) -> np.ndarray:
        """Masked A (L, L)."""
        assert self.predictor.refiner is not None
        return self.predictor.refiner.couplings.detach().numpy()


def train(
    world: KnownCouplings, seed: int, changes: dict[str, Any], n: int = N_TRAIN, lr: float = 5e-3
) -> Trained:
    """Train a linear head on 64 features, as the loop trains a predictor: same order, first weights and taught images."""
    content: dict[str, Any] = {"model.dropout": 0.0, "optimizer.lr": lr, "train.batch_size": BATCH}
    params = params_with({**content, **changes})
    train, test = world.draw(n, 2 * seed), world.draw(N_TEST, 2 * seed + 1)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    width, n_labels = train.x.shape[1], train.truth.shape[1]
    backbone = Backbone(torch.nn.Flatten(), width, channels_last=False, weights="none")
    head = build_head(params.model, HeadInputs(width, n_labels))
    truth = train.truth.astype(np.float32)
    predictor = Predictor(backbone, head, build_refiner(params.refiner, params.loss, n_labels, width, truth))
    optimizer = build_optimizer(predictor, params.optimizer)
    ema = EMA(predictor, params.ema.decay, predictor.sparse_tensors())
    loss, done = build_loss(params.loss, truth), 0
    step = Step(
        predictor,
        loss,
        optimizer,
        ema,
        precision="float32",
        max_grad_norm=params.optimizer.max_grad_norm,
        on_outcome=lambda outcome: None,
        learning_rate_factor=lambda: learning_rate_factor(params.schedule, done, n // BATCH),
    )
    x, y, keys = (
        torch.tensor(train.x, dtype=torch.float32),
        torch.tensor(truth),
        image_keys(map(str, range(n))),
    )
    images = x[:, :, None, None]
    for epoch in range(params.schedule.epochs):
        predictor.train()
        loss.begin_epoch(epoch)
        order = epoch_order(n, seed, 0, epoch)
        for number in range(n // BATCH):
            rows = order[number * BATCH : (number + 1) * BATCH]
            known = None
            if predictor.taught_share:
                told = taught(keys[rows], seed, 0, epoch, predictor.taught_share)
                known = torch.where(torch.tensor(told)[:, None], y[rows], torch.nan)
            step(Batch(images[rows], y[rows], rows, epoch, number, seed, known=known))
            done += 1
    step.read_outcome()
    predictor.eval()
    with ema.applied(), torch.no_grad():
        logits = predictor(torch.tensor(test.x, dtype=torch.float32)[:, :, None, None]).numpy()
        kept = {key: value.clone() for key, value in predictor.state_dict().items()}
    predictor.load_state_dict(kept)
    return Trained(predictor, test, logits)
