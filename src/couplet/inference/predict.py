"""Probabilities of stored images: crops of each and their mirror images, averaged."""

from __future__ import annotations

import numpy as np
import torch

from couplet.images.loading.feed import image_batches
from couplet.images.loading.store import ImageStore
from couplet.images.loading.views import evaluation_crops, evaluation_view
from couplet.models.device import autocast, explained_out_of_memory
from couplet.models.predictor import Predictor, normalisation
from couplet.project.console import progress
from couplet.settings.schema.inference import View


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
    view: View = "whole",
    metadata: np.ndarray | None = None,
    description: str = "predict",
    size_setting: str = "inference.batch_size",
) -> np.ndarray:
    """Probabilities (N, L) float32 of the images at `positions` in the store, as `image_probabilities` gives them.

    `metadata` (N, m) in [0, 1] or NaN is what the head reads beside the features; None: nothing is known.
    `size_setting` is the setting that `batch_size` comes from: what to lower if a GPU is too small. Another
    `batch_size` changes the last digits, on a CPU by 2e-7 at most.
    """
    predictor.eval()
    device = next(predictor.parameters()).device
    steps = -(-len(positions) // batch_size)
    chunks = []
    batches = progress(image_batches(store, positions, batch_size, device), description, steps)
    with explained_out_of_memory(size_setting):
        for start, stored in zip(range(0, len(positions), batch_size), batches, strict=True):
            told = None
            if metadata is not None:
                told = torch.from_numpy(metadata[start : start + batch_size]).to(device)
            chunks.append(
                image_probabilities(
                    predictor, stored, size=size, view=view, tta=tta, precision=precision, metadata=told
                )
            )
    return torch.cat(chunks).float().cpu().numpy()


@torch.inference_mode()
def image_probabilities(
    predictor: Predictor,
    stored: torch.Tensor,
    *,
    size: int,
    view: View,
    tta: bool,
    precision: str,
    metadata: torch.Tensor | None = None,
) -> torch.Tensor:
    """Probabilities (B, L) of stored images uint8 (B, C, S, S), on their device.

    Each crop that `view` names, and with `tta` its mirror image, is refined and put through the sigmoid, and these
    PROBABILITIES are averaged (paper 1, "Evaluation", of two), not the logits. NaN where a logit is not finite.
    `metadata` (B, m) is that of `predict_probabilities`, on the device.
    """
    found = [
        view_probabilities(
            predictor, network_view(predictor, crop, size), tta=tta, precision=precision, metadata=metadata
        )
        for crop in evaluation_crops(stored, size, view)
    ]
    return found[0] if len(found) == 1 else torch.stack(found).mean(dim=0)


def network_view(predictor: Predictor, crop: torch.Tensor, size: int) -> torch.Tensor:
    """What the networks get of stored pictures or of a crop of each (B, C, S, S): (B, 3, s, s), normalised."""
    view = evaluation_view(crop, size, *normalisation(predictor.backbone))
    return view.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def view_probabilities(
    predictor: Predictor,
    images: torch.Tensor,
    *,
    tta: bool,
    precision: str,
    metadata: torch.Tensor | None = None,
) -> torch.Tensor:
    """Probabilities (B, L) of normalised views (B, 3, s, s) in channels_last, on their device."""
    with autocast(images.device, precision):
        probabilities = _probabilities(predictor(images, metadata=metadata))
        if tta:
            mirrored = _probabilities(predictor(images.flip(-1), metadata=metadata))
            probabilities = (probabilities + mirrored) / 2
    return probabilities


def _probabilities(logits: torch.Tensor) -> torch.Tensor:
    # An infinite logit is an overflow, and no certainty: the sigmoid alone would make it a plain 0 or 1.
    return logits.sigmoid().masked_fill(~logits.isfinite(), float("nan"))
