"""Difficult images come more often: the boosting between the levels of a cascade.

Kumar et al., "Boosted cascaded convnets", arXiv:1711.08760, say that difficult samples are drawn more often; by how
much is our own reading.
"""

from __future__ import annotations

import numpy as np
import torch

from couplet.models.predictor import Predictor
from couplet.project.errors import UserError
from couplet.settings.params import Params
from couplet.training.loss import MultiLabelLoss, build_loss
from couplet.training.processes import Processes
from couplet.training.state import FoldData
from couplet.training.validation import REMEDY, predicted

LEAST = 2.0**-24  # what a float32 probability is from 1 at least, unless it is 1


def boosts(predictor: Predictor, params: Params) -> bool:
    """Whether the level that is trained draws its images by weight: all levels of a cascade but the first."""
    levels = params.model.levels
    return levels.kind == "cascade" and levels.boost > 0 and predictor.level > 0


def image_weights(
    predictor: Predictor, params: Params, data: FoldData, precision: str, processes: Processes, who: str
) -> np.ndarray:
    """(N,) float64 in [0, 1]: each training image's share of the largest loss, to the power of model.levels.boost.

    Losses are of the evaluation view under the level before, which no refiner follows.

    Raises:
        UserError: the level before gives probabilities that are not finite.
    """
    trained = predictor.level
    predictor.level = trained - 1
    name = f"{who}, losses under level {trained - 1}"
    try:
        how = (precision, processes, name)
        probabilities = predicted(predictor, params, data, data.train_positions, *how)
    finally:
        predictor.level = trained
    broken = int((~np.isfinite(probabilities)).sum())
    if broken:
        raise UserError(
            f"{name}: {broken} of {probabilities.size} probabilities of training images are not finite: the training "
            f"diverged, {REMEDY}"
        )
    loss = build_loss(params.loss, data.train_truth)
    losses = image_losses(loss, probabilities, data.train_truth)
    return (losses / max(losses.max(), np.finfo(np.float64).tiny)) ** params.model.levels.boost


def image_losses(loss: MultiLabelLoss, probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N,) float64: the loss of each image as a batch of its own, of float32 probabilities (N, L); 0 at least."""
    p = torch.from_numpy(probabilities).double().clamp(LEAST, 1 - LEAST)
    logits, targets = torch.logit(p), torch.from_numpy(truth)
    losses = [loss(z[None], y[None]).item() for z, y in zip(logits, targets, strict=True)]
    return np.maximum(np.array(losses), 0.0)
