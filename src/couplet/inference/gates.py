"""How loudly each label speaks in each image, where the couplings have a gate: for the report."""

from __future__ import annotations

import numpy as np
import torch

from couplet.images.loading.feed import image_batches
from couplet.images.loading.views import evaluation_crops
from couplet.inference.fold import FoldModel
from couplet.inference.predict import network_view
from couplet.models.device import autocast
from couplet.results.manifest import Manifest
from couplet.settings.params import Params


@torch.inference_mode()
def gates(model: FoldModel, params: Params, manifest: Manifest, rows: np.ndarray) -> dict[str, np.ndarray]:
    """g of the manifest's `rows`, without flip augmentation; no array where the refiner has no gate.

    Of several crops (`inference.view`) the mean, as of their probabilities.

    Returns:
        gate (n, L) float32, each in (0, 2): what an image's messages are multiplied by.
    """
    predictor = model.predictor
    if predictor.refiner is None or predictor.refiner.gate is None or not len(rows):
        return {}
    device = next(predictor.parameters()).device
    chunks = []
    for stored in image_batches(model.store, manifest.positions[rows], params.inference.batch_size, device):
        of_crops = []
        for crop in evaluation_crops(stored, params.image.size, params.inference.view):
            images = network_view(predictor, crop, params.image.size)
            with autocast(device, model.precision):
                # Metadata stands beside the features; the gate reads these alone.
                features = predictor.see(images, predictor.told(len(stored))).features
            with torch.autocast(device.type, enabled=False):
                of_crops.append(predictor.refiner.gate(features))
        chunks.append(torch.stack(of_crops).mean(dim=0))
    return {"gate": torch.cat(chunks).float().cpu().numpy()}
