"""Prediction with one fold's saved model."""

from __future__ import annotations

import numpy as np
import torch

from couplet import paths
from couplet.files import read_json
from couplet.images.store import ImageStore
from couplet.inference.predict import predict_probabilities
from couplet.manifest import Manifest
from couplet.models.device import resolve_device, resolve_precision
from couplet.models.predictor import load_predictor
from couplet.params import Params


def predict_with_fold(
    fold: int, params: Params, manifest: Manifest, rows: np.ndarray, what: str
) -> np.ndarray:
    """Probabilities (n, L) float64 of the manifest's `rows` by the model of `fold`.

    They are rounded to the 6 decimals that are written: what is scored is what the files say.

    Raises:
        UserError: the model is missing, damaged or of another label set.
    """
    if not len(rows):  # a data set without a test part, and split.test_fraction: 0
        return np.zeros((0, len(manifest.labels)))
    predictor = load_predictor(paths.model_dir(fold), manifest.labels)
    device = resolve_device(params.train.device)
    # The precision it was trained and chosen in: the record in config.json is true of these numbers too.
    precision = read_json(paths.model_dir(fold) / "config.json")["precision"]
    probabilities = predict_probabilities(
        predictor.to(device).to(memory_format=torch.channels_last),
        ImageStore(paths.PREPARED),
        manifest.positions[rows],
        size=params.image.size,
        batch_size=params.inference.batch_size,
        tta=params.inference.tta,
        precision=resolve_precision(precision, device),
        description=f"model of fold {fold}, {what}",
    )
    return probabilities.astype(np.float64).round(6)
