"""Prediction with one fold's saved model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from couplet.images.loading.store import ImageStore
from couplet.inference.predict import predict_probabilities
from couplet.models.device import resolve_device, resolve_precision
from couplet.models.predictor import Predictor, load_predictor
from couplet.project.errors import UserError
from couplet.results.manifest import Manifest
from couplet.results.metadata import metadata
from couplet.results.model_record import read_model_record
from couplet.results.predictions import refuse_not_finite
from couplet.settings.params import Params


@dataclass(frozen=True)
class FoldModel:
    """One fold's predictor on its device, the precision it was trained and chosen in, and what it may see and read."""

    fold: int
    predictor: Predictor
    precision: str
    store: ImageStore
    metadata: list[str]

    def on(self, manifest: Manifest) -> FoldModel:
        """The same model on the images of another store."""
        return replace(self, store=ImageStore(manifest.project.prepared))


def load_fold(fold: int, params: Params, manifest: Manifest) -> FoldModel:
    """Load what train_fold saved.

    Raises:
        UserError: the model is missing, damaged or of another label set.
    """
    device = resolve_device(params.train.device, params.train.arithmetic)
    predictor = load_predictor(manifest.project.model(fold), manifest.labels)
    record = read_model_record(manifest.project.model(fold))
    precision = record.precision
    if precision == "fp16" and device.type == "cpu":
        raise UserError(
            f"{manifest.project.model(fold) / 'config.json'}: the model was trained in fp16, which needs a GPU: "
            "evaluate it on one, or set train.precision to float32 and train again"
        )
    predictor.to(device).to(memory_format=torch.channels_last)
    return FoldModel(
        fold,
        predictor,
        resolve_precision(precision, device),
        ImageStore(manifest.project.prepared),
        record.params["model"].get("metadata", []),
    )


def predict(model: FoldModel, params: Params, manifest: Manifest, rows: np.ndarray, what: str) -> np.ndarray:
    """Probabilities (n, L) of the manifest's `rows`: float32's values, as float64.

    Raises:
        UserError: the model's logits are not finite.
    """
    if not len(rows):  # a data set without a test part, and split.test_fraction: 0
        return np.zeros((0, len(manifest.labels)))
    probabilities = predict_probabilities(
        model.predictor,
        model.store,
        manifest.positions[rows],
        size=params.image.size,
        batch_size=params.inference.batch_size,
        tta=params.inference.tta,
        view=params.inference.view,
        metadata=metadata(manifest, model.metadata)[rows] if model.metadata else None,
        precision=model.precision,
        description=f"model of fold {model.fold}, {what}",
    )
    refuse_not_finite(
        str(manifest.project.model(model.fold)), manifest.ids[rows], manifest.labels, probabilities
    )
    return probabilities.astype(np.float64)
