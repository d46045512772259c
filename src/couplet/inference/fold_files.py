"""One fold's model as files that a bundle carries: in timm's own form where timm has one, else in couplet's names.

    fold_k/config.json, model.safetensors    timm's form, its classifier included: head linear, one network
    fold_k/predictor.safetensors             couplet's names, without the refiner: every other model
    fold_k/refiner.safetensors               A (L, L), its diagonal masked, and what else a trained refiner has
                                             (gate.V, gate.c, loss.pos_weight); not without one

What timm's form holds is read by `timm.create_model("local-dir:bundle/fold_0", pretrained=True)`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from couplet.inference.engine import TorchEngine
from couplet.models.backbone import normalisation
from couplet.models.device import resolve_device
from couplet.models.predictor import Predictor, build_predictor
from couplet.project.errors import UserError
from couplet.project.files import write_bytes, write_json
from couplet.results.bundle import AGAIN, Bundle
from couplet.settings.params import ModelParams, Params

TIMM, COUPLET = "timm", "couplet"
REFINER = "refiner.safetensors"
_BACKBONE, _CLASSIFIER, _REFINER = "backbone.network.", "head.classifier.", "refiner."


def write_fold(
    folder: Path, predictor: Predictor, model: ModelParams, labels: list[str], view: Tensor
) -> str:
    """Write one fold's model into a new folder; the same weights give the same bytes.

    Args:
        folder: bundle/fold_k.
        predictor: on the CPU, in evaluation mode.
        model: the section `model` that it was built from.
        labels: names of its L labels.
        view: (n, 3, s, s), normalised: images on which timm's network must give the head's logits exactly.

    Returns:
        The form of the files: "timm" or "couplet".
    """
    if predictor.refiner is not None:
        _save(folder / REFINER, predictor.refiner.state_dict() | {"A": predictor.refiner.couplings})
    state = {name: value for name, value in predictor.state_dict().items() if not name.startswith(_REFINER)}
    network = _as_timm(predictor, model, len(labels), state)
    if network is not None and _same_logits(network, predictor, view):
        _save(folder / "model.safetensors", network.state_dict())
        write_json(folder / "config.json", _timm_config(network, predictor, model, labels, view.shape[-1]))
        return TIMM
    _save(folder / "predictor.safetensors", state)
    return COUPLET


def read_folds(folder: Path, bundle: Bundle) -> list[Predictor]:
    """The predictors of a bundle's K folds; CPU, evaluation mode, with the weights that were exported.

    Args:
        folder: the bundle.
        bundle: its record, read with its digests.

    Raises:
        UserError: weights do not fit the network that config.json describes.
    """
    sections = {
        "model": bundle.model | {"pretrained": False},
        "refiner": bundle.refiner,
        "loss": bundle.calibration["loss"],  # a calibrated message is the loss's
        "image": bundle.image,
    }
    params = Params.model_validate(sections)
    predictors = []
    for fold in bundle.folds:
        # A start that saved weights replace: what a head would read of the training fold does not matter.
        predictor = build_predictor(params, bundle.labels, 0, np.zeros((1, len(bundle.labels))))
        own = folder / f"fold_{fold['fold']}"
        try:
            predictor.load_state_dict(_state(own, fold["form"], predictor), strict=True)
        except (RuntimeError, KeyError, FileNotFoundError) as error:
            detail = " ".join(str(error).split())[:200]
            raise UserError(f"{own} does not fit what config.json describes ({detail}): {AGAIN}") from None
        predictors.append(predictor.eval())
    return predictors


def torch_engine(folder: Path, bundle: Bundle) -> TorchEngine:
    """A bundle's networks on the device that it was trained on, or the CPU; each in its own precision."""
    asked = bundle.train["device"]
    device = resolve_device("auto" if asked == "cuda" else asked, bundle.train["arithmetic"])
    # A CPU has no fp16: what was trained in it is computed more exactly.
    precisions = [
        "float32" if (fold["precision"], device.type) == ("fp16", "cpu") else fold["precision"]
        for fold in bundle.folds
    ]
    predictors = [one.to(device).to(memory_format=torch.channels_last) for one in read_folds(folder, bundle)]
    tta, view = bundle.inference["tta"], bundle.inference.get("view", "whole")
    return TorchEngine(predictors, precisions, bundle.image["size"], tta, device, view)


def _state(folder: Path, form: str, predictor: Predictor) -> dict[str, Tensor]:
    """Weights under couplet's names."""
    state: dict[str, Tensor] = {}
    if form == TIMM:
        classifier = _classifier_name(predictor)
        for name, value in load_file(folder / "model.safetensors").items():
            own, rest = (
                (_CLASSIFIER, name.removeprefix(classifier))
                if name.startswith(classifier)
                else (_BACKBONE, name)
            )
            state[own + rest] = value
    else:
        state |= load_file(folder / "predictor.safetensors")
    if predictor.refiner is not None:
        state |= {_REFINER + name: value for name, value in load_file(folder / REFINER).items()}
    return state


# --- timm's form ----------------------------------------------------------------------------------------------


def _as_timm(
    predictor: Predictor, model: ModelParams, n_labels: int, state: dict[str, Tensor]
) -> nn.Module | None:
    """timm's own network with the same weights; None of a chain of networks, or where timm has no such classifier."""
    if (
        predictor.n_levels > 1
        or model.head != "linear"
        or not isinstance(_published(predictor).get("classifier"), str)
    ):
        return None
    arguments = model.backbone_args | {"num_classes": n_labels}
    network: nn.Module = timm.create_model(model.backbone, pretrained=False, **_tuples(arguments))
    classifier = _classifier_name(predictor)
    if not isinstance(network.get_submodule(classifier.removesuffix(".")), nn.Linear):
        return None
    renamed = {
        classifier + name.removeprefix(_CLASSIFIER)
        if name.startswith(_CLASSIFIER)
        else name.removeprefix(_BACKBONE): value
        for name, value in state.items()
    }
    network.load_state_dict(renamed, strict=True)
    return network.eval()


@torch.inference_mode()
def _same_logits(network: nn.Module, predictor: Predictor, view: Tensor) -> bool:
    """Whether timm's network gives what backbone and head give, to the last bit: some put a layer between the two."""
    return torch.equal(network(view), predictor.head(predictor.backbone(view)))


def _timm_config(
    network: nn.Module, predictor: Predictor, model: ModelParams, labels: list[str], size: int
) -> dict[str, Any]:
    """What timm reads to build the network again, in the form of its pages on the hub."""
    published, (mean, std) = _published(predictor), normalisation(predictor.backbone)
    return {
        "architecture": model.backbone.partition(".")[0],
        "num_classes": len(labels),
        "num_features": predictor.backbone.num_features,
        "model_args": model.backbone_args,
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [3, size, size],
            "fixed_input_size": bool(published.get("fixed_input_size", False)),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "mean": list(mean),
            "std": list(std),
            "num_classes": len(labels),
            "first_conv": published.get("first_conv"),
            "classifier": published["classifier"],
            "label_names": labels,
        },
    }


def _published(predictor: Predictor) -> dict[str, Any]:
    config: dict[str, Any] = predictor.backbone.network.pretrained_cfg  # type: ignore[assignment]
    return config


def _classifier_name(predictor: Predictor) -> str:
    return f"{_published(predictor)['classifier']}."


def _tuples(value: Any) -> Any:
    """timm's arguments as it wants them; JSON and YAML have no tuples."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    write_bytes(path, save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}))
