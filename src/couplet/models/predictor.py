"""The predictor: backbone, head and refiner; how it starts, how it is saved and loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from couplet.images.draws import weights_seed
from couplet.models.backbone import Backbone, create_backbone, normalisation
from couplet.models.head import Head, HeadInputs, build_head, head_class
from couplet.models.refiner import LabelGraphRefiner
from couplet.project.errors import UserError
from couplet.project.files import write_bytes
from couplet.project.project import HERE
from couplet.results.model_record import read_model_record
from couplet.settings.params import ModelParams, Params, RefinerParams

__all__ = ["Predictor", "build_predictor", "load_predictor", "normalisation", "save_predictor"]

WEIGHTS = "predictor.safetensors"


class Predictor(nn.Module):
    """Images to logits: backbone under the caller's autocast, head and refiner in float32.

    `refiner` is None in the ablation: the head's logits go straight to the sigmoid.
    """

    def __init__(self, backbone: Backbone, head: Head, refiner: LabelGraphRefiner | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.refiner = refiner

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) to refined logits z' (B, L), float32."""
        logits = self.head(self.backbone(images))
        return logits if self.refiner is None else self.refiner(logits)

    def loss_terms(self) -> dict[str, Tensor]:
        """What head and refiner add to the supervised loss, by name (scalars), after a forward pass."""
        return self.head.loss_terms() | ({} if self.refiner is None else self.refiner.loss_terms())

    def diagnostics(self) -> dict[str, float | None]:
        """What an epoch's line of the history says of the weights, by column; None where there is nothing to say."""
        return {"mean_abs_coupling": None if self.refiner is None else self.refiner.mean_abs_coupling()}


def build_predictor(
    params: Params,
    labels: Sequence[str],
    seed: int | Sequence[int],
    train_truth: np.ndarray | None = None,
    load_pretrained: bool = True,
    weights_folder: Path | None = None,
    repeat: int = 0,
) -> Predictor:
    """A predictor at its start, on the CPU; torch's global generator is neither read nor moved.

    Its weights depend on seed, repeat and the section `model` alone. The backbone is drawn first, then the head;
    the refiner draws nothing. So the ablation without a refiner starts from the same backbone and head.

    Args:
        params: reads the sections model, refiner and image.size.
        labels: L label names.
        seed: a number or several, such as (seed, fold).
        train_truth: (N, L) of the training fold; only read by a head that starts from it.
        load_pretrained: False leaves pretrained weights out, whatever model.pretrained says.
        weights_folder: None is data/weights.
        repeat: of the training with this seed (train.repeat).

    Raises:
        UserError: see `create_backbone`.
        ValueError: the head starts from the training fold's labels and none are given.
    """
    model = params.model if load_pretrained else params.model.model_copy(update={"pretrained": False})
    if train_truth is None and head_class(model.head).asks_for_truth(model.head_settings):
        raise ValueError(f"model.head = {model.head} starts from the training fold: it needs train_truth")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights_seed(seed, repeat))
        backbone = create_backbone(model, weights_folder or HERE.weights, params.image.size)
        head = build_head(model, HeadInputs(backbone.num_features, len(labels), model.dropout, train_truth))
    return Predictor(backbone, head, _build_refiner(params.refiner, len(labels)))


def save_predictor(path: Path, predictor: Predictor) -> None:
    """Write the weights as safetensors, atomically; the same weights give the same bytes."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in predictor.state_dict().items()}
    write_bytes(path, save(tensors))


def load_predictor(model_dir: Path, labels: Sequence[str] | None = None) -> Predictor:
    """Rebuild a fold's predictor from config.json and predictor.safetensors; CPU, evaluation mode.

    Args:
        model_dir: data/models/fold_k.
        labels: the labels that the caller's data has; None: whatever the model was trained on.

    Raises:
        UserError: a file is missing or damaged, the labels differ, or the weights do not fit the settings.
    """
    trained_on, model, refiner, image_size = _described(model_dir)
    if labels is not None and list(labels) != trained_on:
        raise UserError(
            f"{model_dir / 'config.json'}: this model was trained on the labels {_few(trained_on)}, the data "
            f"has {_few(list(labels))}: run `dvc repro` to train it on this data"
        )
    # Weights are drawn here only to be replaced: nothing of the caller's generator may be used up by that.
    with torch.random.fork_rng(devices=[]):
        backbone = create_backbone(model, HERE.weights, image_size)
        head = build_head(model, HeadInputs(backbone.num_features, len(trained_on), model.dropout))
    predictor = Predictor(backbone, head, _build_refiner(refiner, len(trained_on)))
    path = model_dir / WEIGHTS
    try:
        predictor.load_state_dict(load(path.read_bytes()), strict=True)
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run `dvc repro` (or `dvc checkout`) to make it") from None
    except SafetensorError as error:
        raise UserError(f"{path} is not a safetensors file ({error}): run `dvc checkout`") from None
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} does not fit the network that config.json beside it describes ({detail}): run "
            "`dvc repro` to train again"
        ) from None
    return predictor.eval()


def _described(model_dir: Path) -> tuple[list[str], ModelParams, RefinerParams, int]:
    record, path = read_model_record(model_dir), model_dir / "config.json"
    try:
        settings = record.params
        model = ModelParams.model_validate(settings["model"] | {"pretrained": False})
        refiner = RefinerParams.model_validate(settings["refiner"])
        return [str(label) for label in record.labels], model, refiner, int(settings["image"]["size"])
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UserError(
            f"{path}: {where}: {problem['msg']}: run `dvc repro` to train again with this version's settings"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} lacks settings, or holds odd ones ({error}): run `dvc repro` to train again"
        ) from None


def _build_refiner(refiner: RefinerParams, n_labels: int) -> LabelGraphRefiner | None:
    return LabelGraphRefiner(n_labels, refiner.alpha, refiner.lambda_) if refiner.trained else None


def _few(labels: list[str]) -> str:
    shown = ", ".join(labels[:3])
    return f"{shown}, ... ({len(labels)} in all)" if len(labels) > 3 else shown
