"""Probabilities of stored images, with flip test-time augmentation."""

from __future__ import annotations

import numpy as np
import torch

from couplet.images.feed import image_batches
from couplet.images.store import ImageStore
from couplet.images.views import evaluation_view
from couplet.models.device import autocast, explained_out_of_memory
from couplet.models.predictor import Predictor, normalisation
from couplet.project.console import progress


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
    size_setting: str = "inference.batch_size",
) -> np.ndarray:
    """Probabilities (N, L) float32 of the images at `positions` in the store.

    With `tta` an image and its mirror image are each refined and put through the sigmoid, and the two
    PROBABILITIES are averaged (paper 1, "Evaluation"), not the logits. NaN where a logit is not finite.
    `size_setting` is the setting that `batch_size` comes from: what to lower if a GPU is too small. Another
    `batch_size` changes the last digits, on a CPU by 2e-7 at most.
    """
    predictor.eval()
    device = next(predictor.parameters()).device
    mean, std = normalisation(predictor.backbone)
    steps = -(-len(positions) // batch_size)
    chunks = []
    batches = progress(image_batches(store, positions, batch_size, device), description, steps)
    with explained_out_of_memory(size_setting):
        for stored in batches:
            images = evaluation_view(stored, size, mean, std).contiguous(memory_format=torch.channels_last)
            chunks.append(view_probabilities(predictor, images, tta=tta, precision=precision))
    return torch.cat(chunks).float().cpu().numpy()


@torch.inference_mode()
def view_probabilities(
    predictor: Predictor, images: torch.Tensor, *, tta: bool, precision: str
) -> torch.Tensor:
    """Probabilities (B, L) of normalised views (B, 3, s, s) in channels_last, on their device."""
    with autocast(images.device, precision):
        probabilities = _probabilities(predictor(images))
        if tta:
            probabilities = (probabilities + _probabilities(predictor(images.flip(-1)))) / 2
    return probabilities


def _probabilities(logits: torch.Tensor) -> torch.Tensor:
    # An infinite logit is an overflow, and no certainty: the sigmoid alone would make it a plain 0 or 1.
    return logits.sigmoid().masked_fill(~logits.isfinite(), float("nan"))
