"""What predicts images: the folds' networks in torch, or whatever else gives the same numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from couplet.inference.predict import image_probabilities, network_view
from couplet.models.device import autocast, explained_out_of_memory
from couplet.models.predictor import Predictor
from couplet.project.errors import UserError
from couplet.results.predictions import as_read_back
from couplet.settings.schema.inference import View


class Engine(Protocol):
    """K models over L labels."""

    def by_fold(self, images: np.ndarray) -> np.ndarray:
        """Stored images uint8 (n, C, S, S) to each fold's probabilities (K, n, L); NaN where one is not finite.

        In the digits that are written.
        """
        ...

    def maps(self, images: np.ndarray) -> np.ndarray | None:
        """Class activation maps (n, L, h, w) float32 of stored images, mean over the folds; None: it has none."""
        ...


@dataclass(frozen=True)
class TorchEngine:
    """The folds' own networks, on the device and in the precision they were trained in.

    Attributes:
        predictors: K, in evaluation mode, on `device`, channels_last.
        precisions: of each (`models/device.py`).
        size: side s of the evaluation view.
        tta: whether an image and its mirror image are averaged.
        view: what of a stored picture is seen (inference.view).
    """

    predictors: list[Predictor]
    precisions: list[str]
    size: int
    tta: bool
    device: torch.device
    view: View = "whole"

    @torch.inference_mode()
    def by_fold(self, images: np.ndarray) -> np.ndarray:
        """See `Engine`."""
        stored = torch.from_numpy(images).to(self.device)
        found = []
        with explained_out_of_memory("inference.batch_size"):
            for predictor, precision in zip(self.predictors, self.precisions, strict=True):
                probabilities = image_probabilities(
                    predictor, stored, size=self.size, view=self.view, tta=self.tta, precision=precision
                )
                found.append(probabilities.float().cpu().numpy().astype(np.float64))
        return as_read_back(np.stack(found))

    @torch.inference_mode()
    def maps(self, images: np.ndarray) -> np.ndarray | None:
        """See `Engine`. The map of the mirror image is mirrored back; both are averaged if the model's outputs are.

        Raises:
            UserError: the networks see parts of a picture (inference.view): no map covers it.
        """
        if self.view != "whole":
            raise UserError(
                f"--maps: these models were made with inference.view = {self.view} and see parts of a picture, so no "
                "map covers it: leave --maps out"
            )
        stored = torch.from_numpy(images).to(self.device)
        total: torch.Tensor | None = None
        for predictor, precision in zip(self.predictors, self.precisions, strict=True):
            view = network_view(predictor, stored, self.size)
            found = class_maps(predictor, view, precision)
            if found is None:
                return None
            if self.tta:
                mirrored = class_maps(predictor, view.flip(-1), precision)
                assert mirrored is not None
                found = (found + mirrored.flip(-1)) / 2
            total = found if total is None else total + found
        assert total is not None
        return (total / len(self.predictors)).cpu().numpy()


@torch.inference_mode()
def class_maps(predictor: Predictor, view: torch.Tensor, precision: str) -> torch.Tensor | None:
    """One model's class activation maps (n, L, h, w) float32, before the refiner; None where its head has none.

    A chain of networks has none either: its last logits are not the mean of anything that one network sees.

    Raises:
        UserError: the head reads pooled features, and the network pools otherwise than by the mean, or more is read
            than the picture: the maps would be of other logits than the model's.
    """
    if predictor.n_levels > 1:
        return None
    if predictor.metadata_mean is not None:
        raise UserError(
            "--maps: these models read model.metadata beside the picture, so no map has their logits: leave --maps out"
        )
    with autocast(view.device, precision):
        features = predictor.backbone.feature_map(view)
        if features is None:
            return None
        maps = predictor.head.class_maps(features)
        if maps is None or predictor.head.reads == "map":
            return maps
        pooled = predictor.head(predictor.backbone(view))
    close = 1e-4 if precision == "float32" else 0.1
    if (maps.mean(dim=(2, 3)) - pooled).abs().max() > close * (1 + pooled.abs().max()):
        raise UserError(
            "--maps: this backbone pools its features otherwise than by their mean, so no map has the model's logits: "
            "leave --maps out"
        )
    return maps
