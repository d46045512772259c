"""What a dual-branch dynamic GCN looked at: maps and label graphs of a few images, for the report."""

from __future__ import annotations

import numpy as np
import torch

from couplet.images.draws import image_keys
from couplet.images.store import ImageStore
from couplet.images.views import evaluation_view
from couplet.inference.fold import FoldModel
from couplet.models.device import autocast
from couplet.models.graph_heads import DualBranchDynamicGCN
from couplet.models.predictor import normalisation
from couplet.project import paths
from couplet.results.manifest import Manifest
from couplet.settings.params import Params

N_IMAGES = 6


@torch.inference_mode()
def explain(model: FoldModel, params: Params, manifest: Manifest, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Explain up to N_IMAGES of the manifest's `rows` with one fold's model; no arrays for other heads.

    The images are those with the smallest hash of their id: the same in every run, whatever the model says of them.

    Returns:
        n images, L labels: image uint8 (n, C, S, S), probabilities (n, L), labels_true (n, L) with NaN for unknown,
        maps float16 (n, L, h, w) before the sigmoid, adjacency_main and adjacency_auxiliary (n, L, L) with targets in
        rows and sources in columns, static_adjacency (L, L).
    """
    if params.model.head != "db_dgcn" or not len(rows):
        return {}
    rows = rows[np.argsort(image_keys(manifest.ids[rows]), kind="stable")[:N_IMAGES]]
    predictor = model.predictor
    head, device = predictor.head, next(predictor.parameters()).device
    if not isinstance(head, DualBranchDynamicGCN):
        raise TypeError(f"model.head is db_dgcn, but fold {model.fold} has {type(head).__name__}")
    images = ImageStore(paths.PREPARED).read(manifest.positions[rows])
    view = evaluation_view(
        torch.from_numpy(images).to(device), params.image.size, *normalisation(predictor.backbone)
    )
    with autocast(device, model.precision):
        features = predictor.backbone(view.contiguous(memory_format=torch.channels_last))
    logits, explanation = head(features, return_explanation=True)
    if predictor.refiner is not None:
        logits = predictor.refiner(logits)

    def array(tensor: torch.Tensor, dtype: type[np.floating]) -> np.ndarray:
        return tensor.float().cpu().numpy().astype(dtype)

    return {
        "image": images,
        "probabilities": array(logits.sigmoid(), np.float32),
        "labels_true": manifest.truth[rows],
        "maps": array(explanation.maps, np.float16),
        "adjacency_main": array(explanation.adjacency_main, np.float16),
        "adjacency_auxiliary": array(explanation.adjacency_auxiliary, np.float16),
        "static_adjacency": array(head.static_adjacency, np.float32),
    }
