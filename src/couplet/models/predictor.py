"""The predictor: a network or a chain of them, and the refiner; how it starts, how it is saved and loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from couplet.images.loading.draws import weights_seed
from couplet.models.backbone import Backbone, normalisation
from couplet.models.head import Head, head_class
from couplet.models.levels import ONE_NETWORK, Chain, Levels, build_levels, features_seen
from couplet.models.refiner import LabelGraphRefiner, build_refiner
from couplet.project.errors import UserError
from couplet.project.files import write_bytes
from couplet.project.project import HERE
from couplet.results.model_record import read_model_record
from couplet.settings.params import LossParams, ModelParams, Params, RefinerParams

__all__ = ["Predictor", "build_predictor", "load_predictor", "normalisation", "save_predictor"]

WEIGHTS = "predictor.safetensors"


class Predictor(Levels):
    """Images to logits: backbone under the caller's autocast, head and refiner in float32.

    `refiner` is None in the ablation: the head's logits go straight to the sigmoid. With model.metadata the head reads
    it behind the pooled features; `metadata_mean` (m,) stands for what is unknown.
    """

    metadata_mean: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        refiner: LabelGraphRefiner | None,
        metadata_mean: Tensor | None = None,
        chain: Chain = ONE_NETWORK,
    ) -> None:
        super().__init__(backbone, head, chain)
        self.register_buffer("metadata_mean", metadata_mean)
        self.refiner = refiner

    def forward(self, images: Tensor, known: Tensor | None = None, metadata: Tensor | None = None) -> Tensor:
        """Normalised images (B, 3, S, S) to refined logits z' (B, L), float32.

        `known` (B, L) of 1, 0 or NaN are labels that the couplings are told; nobody else reads them. `metadata` (B, m)
        in [0, 1] or NaN is what the head reads beside the features; None: nothing is known.
        """
        # `shape[0]`, since `len` would fix the number of images in an exported graph.
        logits, features = self.see(images, self.told(images.shape[0], metadata))
        return self.refined(logits, features, known) if self.at_last else logits

    def told(self, n: int, metadata: Tensor | None = None) -> Tensor | None:
        """What heads read beside the features of n images: (n, m), without gaps; None without model.metadata."""
        mean = self.metadata_mean
        if mean is None:
            return None
        told = mean.expand(n, -1)
        return told if metadata is None else torch.where(metadata.isnan(), told, metadata.to(mean.dtype))

    def refined(self, logits: Tensor, features: Tensor, known: Tensor | None = None) -> Tensor:
        """What the refiner makes of the head's logits (B, L), of the features that the head read."""
        return logits if self.refiner is None else self.refiner(logits, features, known)

    def loss_terms(self) -> dict[str, Tensor]:
        """What head and refiner add to the supervised loss, by name (scalars), after a forward pass."""
        refiner = self._refiner_at_work
        return self.trained_head.loss_terms() | ({} if refiner is None else refiner.loss_terms())

    def diagnostics(self) -> dict[str, float | None]:
        """What an epoch's line of the history says of the weights, by column; None where there is nothing to say."""
        refiner = self._refiner_at_work
        if refiner is None:
            return {"mean_abs_coupling": None}
        said = {"mean_abs_coupling": refiner.mean_abs_coupling()}
        if refiner.proximal:
            said["zero_couplings"] = refiner.zero_share()
        if refiner.steps > 1:
            said["spectral_radius"] = refiner.spectral_radius()
        return said

    def warnings(self, diagnostics: Mapping[str, float | None]) -> list[str]:
        """Lines for whoever watches the training: what `diagnostics` should not be."""
        radius = diagnostics.get("spectral_radius")
        if self.refiner is None or radius is None or radius <= 1:
            return []
        return [
            f"the couplings' spectral radius is {radius:.3g}, above 1: {self.refiner.steps} steps of messages need not "
            "come nearer to a fixed point; refiner.steps: 1 is safe, and a larger refiner.lambda makes it smaller"
        ]

    @property
    def taught_share(self) -> float:
        """Share of the training images, drawn anew in each epoch, whose labels it is to be told as `known`."""
        refiner = self._refiner_at_work
        return 0.0 if refiner is None else refiner.teach

    def sparse_tensors(self) -> tuple[str, ...]:
        """Names in the state dict whose exact zeros mean something: an average of them must have the same zeros."""
        refiner = self._refiner_at_work
        return ("refiner.A",) if refiner is not None and refiner.proximal else ()

    @property
    def _refiner_at_work(self) -> LabelGraphRefiner | None:
        return self.refiner if self.at_last else None


def build_predictor(
    params: Params,
    labels: Sequence[str],
    seed: int | Sequence[int],
    train_truth: np.ndarray | None = None,
    load_pretrained: bool = True,
    weights_folder: Path | None = None,
    repeat: int = 0,
    metadata_mean: np.ndarray | None = None,
) -> Predictor:
    """A predictor at its start, on the CPU; torch's global generator is neither read nor moved.

    Its weights depend on seed, repeat and the section `model` alone; a calibrated message on the loss, too. The
    backbone is drawn first, then the head; the refiner draws nothing. So the ablation without a refiner starts from
    the same backbone and head.

    Args:
        params: reads the sections model, refiner, loss and image.size.
        labels: L label names.
        seed: a number or several, such as (seed, fold).
        train_truth: (N, L) of the training fold; only read by a head that starts from it, and by a calibrated message.
        load_pretrained: False leaves pretrained weights out, whatever model.pretrained says.
        weights_folder: None is data/weights.
        repeat: of the training with this seed (train.repeat).
        metadata_mean: (m,) of the training fold, for model.metadata; None where saved weights take its place.

    Raises:
        UserError: see `create_backbone`.
        ValueError: the head starts from the training fold's labels and none are given.
    """
    model = params.model if load_pretrained else params.model.model_copy(update={"pretrained": False})
    if train_truth is None and head_class(model.head).asks_for_truth(model.head_settings):
        raise ValueError(f"model.head = {model.head} starts from the training fold: it needs train_truth")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights_seed(seed, repeat))
        folder = weights_folder or HERE.weights
        backbone, head, chain = build_levels(model, len(labels), folder, params.image.size, train_truth)
    width = features_seen(backbone, chain)
    refiner = build_refiner(params.refiner, params.loss, len(labels), width, train_truth)
    return Predictor(backbone, head, refiner, _metadata_mean(model, metadata_mean), chain)


def _metadata_mean(model: ModelParams, known: np.ndarray | None = None) -> Tensor | None:
    if not model.metadata:
        return None
    return torch.zeros(len(model.metadata)) if known is None else torch.tensor(known, dtype=torch.float32)


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
    trained_on, model, refiner, loss, image_size = _described(model_dir)
    if labels is not None and list(labels) != trained_on:
        raise UserError(
            f"{model_dir / 'config.json'}: this model was trained on the labels {_few(trained_on)}, the data "
            f"has {_few(list(labels))}: run `dvc repro` to train it on this data"
        )
    # Weights are drawn here only to be replaced: nothing of the caller's generator may be used up by that.
    with torch.random.fork_rng(devices=[]):
        backbone, head, chain = build_levels(model, len(trained_on), HERE.weights, image_size)
    built = build_refiner(refiner, loss, len(trained_on), features_seen(backbone, chain))
    predictor = Predictor(backbone, head, built, _metadata_mean(model), chain)
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


def _described(model_dir: Path) -> tuple[list[str], ModelParams, RefinerParams, LossParams, int]:
    record, path = read_model_record(model_dir), model_dir / "config.json"
    try:
        settings = record.params
        model = ModelParams.model_validate(settings["model"] | {"pretrained": False})
        refiner = RefinerParams.model_validate(settings["refiner"])
        loss = (
            LossParams.model_validate(settings["loss"]) if refiner.message == "calibrated" else LossParams()
        )
        return [str(label) for label in record.labels], model, refiner, loss, int(settings["image"]["size"])
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


def _few(labels: list[str]) -> str:
    shown = ", ".join(labels[:3])
    return f"{shown}, ... ({len(labels)} in all)" if len(labels) > 3 else shown
