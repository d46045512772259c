"""Small exported ensembles, made of networks that start at random: no project, no training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from couplet.images.loading.views import evaluation_view
from couplet.inference.engine import TorchEngine
from couplet.inference.fold_files import write_fold
from couplet.inference.graph import EnsembleGraph
from couplet.models.predictor import Predictor, build_predictor, normalisation
from couplet.results.bundle import Bundle, digests
from couplet.settings.params import Params
from tests.support.params import set_dotted

LABELS = ["Edema", "Nodule", "Hernia"]
STORED, SIZE = 72, 64
SMALL: dict[str, Any] = {
    "backbone": "resnet10t",
    "pretrained": False,
    "backbone_args": {"channels": [8, 8, 16, 16], "stem_width": 8},
}


def settings(
    channels: int = 1,
    refiner: bool = True,
    tta: bool = True,
    stored: int = STORED,
    changes: Mapping[str, Any] | None = None,
    **model: Any,
) -> Params:
    """Small ones; `changes` are further settings, by dotted keys."""
    content = Params().as_dict()
    content["image"] |= {"size": SIZE, "store_size": stored, "channels": channels}
    content["refiner"]["enabled"] = refiner
    content["inference"]["tta"] = tta
    # Attention that sums to 1: without it a network at its start gives logits of hundreds.
    own = {"normalize": True, "dim": 16} if model.get("head") == "db_dgcn" else {}
    content["model"] |= SMALL | {"head_args": own} | model
    set_dotted(content, changes or {})
    return Params.model_validate(content)


def predictors(params: Params, n_folds: int = 2) -> list[Predictor]:
    """Each with every weight moved from its start, couplings and batch statistics included, in evaluation mode."""
    found = []
    for fold in range(n_folds):
        predictor = build_predictor(params, LABELS, (7, fold), np.zeros((1, len(LABELS))))
        generator = torch.Generator().manual_seed(fold)
        with torch.no_grad():
            for name, value in predictor.state_dict().items():
                if value.is_floating_point():
                    moved = 0.1 * torch.randn(value.shape, generator=generator)
                    value.add_(moved.abs() if name.endswith("running_var") else moved)
        found.append(predictor.eval())
    return found


def settled(predictor: Predictor, params: Params) -> Predictor:
    """With the batch statistics of four images: in a deep network that was moved, outputs are else all 0 or 1."""
    for module in predictor.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # plain means
    with torch.no_grad():
        predictor.train()(view_of(params, predictor, n=4))
    return predictor.eval()


def images(n: int, params: Params) -> np.ndarray:
    """Noise of different brightness, uint8 (n, C, S, S)."""
    shape = (n, params.image.channels, params.image.store_size, params.image.store_size)
    noise = np.random.default_rng(n).integers(0, 128, shape, dtype=np.uint8)
    return noise + np.linspace(0, 127, n).astype(np.uint8)[:, None, None, None]


def networks(params: Params, folds: list[Predictor]) -> TorchEngine:
    """What the pipeline gives in float32."""
    exact = ["float32"] * len(folds)
    for fold in folds:
        fold.to(memory_format=torch.channels_last)
    size, inference, cpu = params.image.size, params.inference, torch.device("cpu")
    return TorchEngine(folds, exact, size, inference.tta, cpu, inference.view)


def graph(params: Params, folds: list[Predictor]) -> EnsembleGraph:
    sides, inference = (params.image.store_size, params.image.size), params.inference
    return EnsembleGraph(folds, *sides, inference.tta, view=inference.view).eval()


def view_of(params: Params, predictor: Predictor, n: int = 2) -> torch.Tensor:
    """Normalised views (n, 3, s, s)."""
    stored = torch.from_numpy(images(n, params))
    return evaluation_view(stored, params.image.size, *normalisation(predictor.backbone))


def write_folds(folder: Path, params: Params, folds: list[Predictor]) -> list[str]:
    """The folds' files; their forms."""
    view = view_of(params, folds[0])
    return [
        write_fold(folder / f"fold_{k}", predictor, params.model, LABELS, view)
        for k, predictor in enumerate(folds)
    ]


def record_of(folder: Path, params: Params, forms: list[str], **changes: Any) -> Bundle:
    """What config.json says of the files that are in `folder`."""
    content = params.as_dict()
    fields: dict[str, Any] = {
        "format": 1,
        "couplet": "0.1.0",
        "license": "other",
        "intended_use": "tests",
        "source": "csv",
        "labels": LABELS,
        "image": content["image"],
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "model": content["model"],
        "refiner": content["refiner"],
        "inference": content["inference"],
        "train": content["train"],
        "suits": {"modalities": None, "body_parts": None, "views": []},
        "folds": [{"fold": k, "form": form, "precision": "float32"} for k, form in enumerate(forms)],
        "data": {},
        "calibration": {"loss": content["loss"]},
        "metrics": {},
        "versions": {},
        "files": digests(folder),
    }
    return Bundle(**fields | changes)
