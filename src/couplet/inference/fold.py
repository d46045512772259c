"""Prediction with one fold's saved model."""

from __future__ import annotations

import numpy as np
import torch

from couplet import paths
from couplet.files import read_record
from couplet.images.store import ImageStore
from couplet.inference.predict import predict_probabilities
from couplet.manifest import Manifest, refuse_not_finite
from couplet.models.device import resolve_device, resolve_precision
from couplet.models.predictor import Predictor, load_predictor
from couplet.params import Params


def load_for_prediction(fold: int, params: Params, manifest: Manifest) -> tuple[Predictor, str]:
    """One fold's predictor on its device, and the precision it was trained and chosen in.

    The record in config.json is then true of the predictions too.
    """
    device = resolve_device(params.train.device)
    predictor = load_predictor(paths.model_dir(fold), manifest.labels)
    precision = read_record(paths.model_dir(fold) / "config.json", precision=str)["precision"]
    return predictor.to(device).to(memory_format=torch.channels_last), resolve_precision(precision, device)


def predict_with_fold(
    fold: int, params: Params, manifest: Manifest, rows: np.ndarray, what: str
) -> np.ndarray:
    """Probabilities (n, L) of the manifest's `rows` by the model of `fold`: float32's values, as float64.

    Raises:
        UserError: the model is missing, damaged or of another label set, or its logits are not finite.
    """
    if not len(rows):  # a data set without a test part, and split.test_fraction: 0
        return np.zeros((0, len(manifest.labels)))
    predictor, precision = load_for_prediction(fold, params, manifest)
    probabilities = predict_probabilities(
        predictor,
        ImageStore(paths.PREPARED),
        manifest.positions[rows],
        size=params.image.size,
        batch_size=params.inference.batch_size,
        tta=params.inference.tta,
        precision=precision,
        description=f"model of fold {fold}, {what}",
    )
    refuse_not_finite(str(paths.model_dir(fold)), manifest.ids[rows], manifest.labels, probabilities)
    return probabilities.astype(np.float64)
