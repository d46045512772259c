"""Probabilities of images that are given as an array, by the same functions as those of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from couplet.images.views import evaluation_view
from couplet.inference.predict import view_probabilities
from couplet.models.predictor import Predictor, normalisation
from couplet.results.predictions import as_read_back


@dataclass(frozen=True)
class Networks:
    """The folds' own networks as an engine (`inference.exported`), all images as one batch.

    Attributes:
        predictors: of K folds, in evaluation mode, all on one device.
        precisions: of each.
        size: side s of the view.
        tta: whether an image and its mirror image are averaged.
    """

    predictors: Sequence[Predictor]
    precisions: Sequence[str]
    size: int
    tta: bool

    @torch.inference_mode()
    def by_fold(self, images: np.ndarray) -> np.ndarray:
        """Stored images uint8 (n, C, S, S) to each fold's probabilities (K, n, L); NaN where a logit is not finite."""
        stored = torch.from_numpy(images).to(next(self.predictors[0].parameters()).device)
        found = []
        for predictor, precision in zip(self.predictors, self.precisions, strict=True):
            view = evaluation_view(stored, self.size, *normalisation(predictor.backbone))
            view = view.contiguous(memory_format=torch.channels_last)
            found.append(view_probabilities(predictor, view, tta=self.tta, precision=precision))
        return as_read_back(torch.stack(found).float().cpu().numpy())

    def maps(self, images: np.ndarray) -> np.ndarray | None:
        """None."""
        return None
