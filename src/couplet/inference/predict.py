"""Probabilities of stored images, with flip test-time augmentation."""

from __future__ import annotations

import numpy as np
import torch

from couplet.console import progress
from couplet.images.feed import image_batches
from couplet.images.store import ImageStore
from couplet.images.views import evaluation_view
from couplet.models.device import autocast
from couplet.models.predictor import Predictor, normalisation


@torch.inference_mode()
def predict_probabilities(
    predictor: Predictor,
    store: ImageStore,
    positions: np.ndarray,
    *,
    size: int,
    batch_size: int,
    tta: bool,
    precision: str,
    description: str = "predict",
) -> np.ndarray:
    """Probabilities (N, L) float32 of the images at `positions` in the store.

    With `tta` an image and its mirror image are each refined and put through the sigmoid, and the two
    PROBABILITIES are averaged (paper 1, "Evaluation"), not the logits.
    """
    predictor.eval()
    device = next(predictor.parameters()).device
    mean, std = normalisation(predictor.backbone)
    steps = -(-len(positions) // batch_size)
    chunks = []
    for stored in progress(image_batches(store, positions, batch_size, device), description, steps):
        images = evaluation_view(stored, size, mean, std).contiguous(memory_format=torch.channels_last)
        with autocast(device, precision):
            probabilities = predictor(images).sigmoid()
            if tta:
                probabilities = (probabilities + predictor(images.flip(-1)).sigmoid()) / 2
        chunks.append(probabilities)
    return torch.cat(chunks).float().cpu().numpy()
