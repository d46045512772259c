"""How loudly each label speaks in each image, where the couplings have a gate: for the report."""

from __future__ import annotations

import numpy as np
import torch

from couplet.images.feed import image_batches
from couplet.images.views import evaluation_view
from couplet.inference.fold import FoldModel
from couplet.models.device import autocast
from couplet.models.predictor import normalisation
from couplet.results.manifest import Manifest
from couplet.settings.params import Params


@torch.inference_mode()
def gates(model: FoldModel, params: Params, manifest: Manifest, rows: np.ndarray) -> dict[str, np.ndarray]:
    """g of the manifest's `rows`, without flip augmentation; no array where the refiner has no gate.

    Returns:
        gate (n, L) float32, each in (0, 2): what an image's messages are multiplied by.
    """
    predictor = model.predictor
    if predictor.refiner is None or predictor.refiner.gate is None or not len(rows):
        return {}
    device = next(predictor.parameters()).device
    chunks = []
    for stored in image_batches(model.store, manifest.positions[rows], params.inference.batch_size, device):
        view = evaluation_view(stored, params.image.size, *normalisation(predictor.backbone))
        with autocast(device, model.precision):
            features = predictor.backbone(view.contiguous(memory_format=torch.channels_last))
        with torch.autocast(device.type, enabled=False):
            chunks.append(predictor.refiner.gate(features))
    return {"gate": torch.cat(chunks).float().cpu().numpy()}
