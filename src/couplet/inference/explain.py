"""What a fold's head looked at in a few images, for the report; only some heads can say."""

from __future__ import annotations

import numpy as np
import torch

from couplet.images.loading.draws import image_keys
from couplet.images.loading.views import evaluation_crops, evaluation_view
from couplet.inference.fold import FoldModel
from couplet.models.device import autocast
from couplet.models.predictor import normalisation
from couplet.results.manifest import Manifest
from couplet.settings.params import Params

N_IMAGES = 6


@torch.inference_mode()
def explain(model: FoldModel, params: Params, manifest: Manifest, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Explain up to N_IMAGES of the manifest's `rows` with one fold's model; no arrays if its head cannot.

    The images are those with the smallest hash of their id: the same in every run, whatever the model says of them.
    Where the networks see parts of a picture (inference.view) it is the one in the middle that is shown and explained.

    Returns:
        n images, L labels: image uint8 (n, C, S, S), or (n, C, s, s) of a part, probabilities (n, L), truth (n, L)
        with NaN for unknown, and the head's own arrays: those of an image each with three dimensions or more
        in float16, others in float32.
    """
    rows = rows[np.argsort(image_keys(manifest.ids[rows]), kind="stable")[:N_IMAGES]]
    predictor = model.predictor
    if not len(rows) or not predictor.head.explains:
        return {}
    device = next(predictor.parameters()).device
    size, stored = params.image.size, torch.from_numpy(model.store.read(manifest.positions[rows]))
    seen = evaluation_crops(stored, size, params.inference.view)[-1]
    view = evaluation_view(seen.to(device), size, *normalisation(predictor.backbone))
    with autocast(device, model.precision):
        features = predictor.backbone(view.contiguous(memory_format=torch.channels_last))
    logits, arrays = predictor.head.explain(features)
    logits = predictor.refined(logits, features)

    def array(tensor: torch.Tensor, dtype: type[np.floating]) -> np.ndarray:
        return tensor.float().cpu().numpy().astype(dtype)

    return {
        "image": seen.numpy(),
        "probabilities": array(logits.sigmoid(), np.float32),
        "truth": manifest.truth[rows],
    } | {
        name: array(tensor, np.float16 if len(tensor) == len(rows) and tensor.dim() > 2 else np.float32)
        for name, tensor in arrays.items()
    }
