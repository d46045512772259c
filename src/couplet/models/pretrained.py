"""Published weights of a timm network, pinned by `name.tag`.

They come from data/weights/<backbone>.safetensors, else from the timm hub. Only safetensors are ever loaded: a pickle
can run code.
"""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

import timm
from safetensors import SafetensorError
from safetensors.torch import load
from timm.models import PretrainedCfg, get_pretrained_cfg
from torch import Tensor

from couplet.project.errors import UserError
from couplet.settings.params import ModelParams

HUB_TIMEOUT_SECONDS = 5.0


def pretrained_digest(model: ModelParams, weights_folder: Path) -> str:
    """SHA-256 of the weights' file that `create_backbone` would load for `model`; it is downloaded if it must be.

    Raises:
        UserError: an unknown name or tag, weights that are missing, or a file that is not safetensors.
    """
    return pretrained_tensors(model.backbone, published_config(model), weights_folder)[1]


def published_config(model: ModelParams) -> PretrainedCfg:
    """What timm publishes under `name.tag`: classifier's name, hub page, mean and standard deviation."""
    name, _, tag = model.backbone.partition(".")
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists all names"
        raise UserError(
            f"model.backbone = {model.backbone!r} is no network of timm {timm.__version__}: {hint}"
        )
    published = timm.list_models(f"{name}.*", pretrained=True)
    if model.pretrained and not tag:
        raise UserError(
            f"model.backbone = {name!r} names no weights, and what a bare name loads changes over time: "
            f"write {' or '.join(published[:3]) or 'another backbone'}, or set model.pretrained=false"
        )
    try:
        config = get_pretrained_cfg(model.backbone, allow_unregistered=False)
        assert config is not None  # allow_unregistered=False raises instead
        return config
    except RuntimeError:
        close = difflib.get_close_matches(model.backbone, published, n=3, cutoff=0.0)
        hint = f"did you mean {', '.join(close)}?" if close else f"write {name} with model.pretrained=false"
        raise UserError(f"model.backbone = {model.backbone!r}: timm has no such weights: {hint}") from None


def pretrained_tensors(name: str, config: PretrainedCfg, folder: Path) -> tuple[dict[str, Tensor], str]:
    """The weights of `name.tag` by their names in the network, and the SHA-256 of their file.

    Raises:
        UserError: they are not there and the hub did not give them, or the file is not safetensors.
    """
    path = folder / f"{name}.safetensors"
    if not path.exists():
        others = [other for other in sorted(folder.glob(f"{name}.*")) if other.is_file()]
        if others:
            raise weights_error(name, f"data/weights/{others[0].name} is not loaded, only safetensors are")
        path = _hub_file(name, config)
    try:
        data = path.read_bytes()
        tensors = load(data)
    except (SafetensorError, OSError) as error:
        raise weights_error(name, f"{path.name} is not a safetensors file ({one_line(error)})") from None
    return tensors, hashlib.sha256(data).hexdigest()


def _hub_file(name: str, config: PretrainedCfg) -> Path:
    """The file on the timm hub, from the local cache if it is there."""
    # Late, because only this needs it: it comes with timm.
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    if not config.hf_hub_id:
        raise weights_error(name, "the timm hub has no page for it")
    repository, _, revision = config.hf_hub_id.partition("@")
    filename = config.hf_hub_filename or "model.safetensors"
    if not filename.endswith(".safetensors"):
        raise weights_error(name, f"the timm hub offers only {filename}, which is not safetensors")
    version = revision or None
    cached = try_to_load_from_cache(repository, filename, revision=version)
    if isinstance(cached, str):
        return Path(cached)
    try:
        # One question first: without a network hf_hub_download retries for half a minute.
        get_hf_file_metadata(hf_hub_url(repository, filename, revision=version), timeout=HUB_TIMEOUT_SECONDS)
        return Path(hf_hub_download(repository, filename, revision=version))
    except Exception as error:
        raise weights_error(name, f"the timm hub did not give them ({type(error).__name__})") from None


def weights_error(name: str, problem: str) -> UserError:
    """What is wrong with these weights, and where the right ones go."""
    return UserError(
        f"pretrained weights of {name}: {problem}: put the file model.safetensors of its page on the timm "
        f"hub (timm/{name}) at data/weights/{name}.safetensors, or set model.pretrained=false"
    )


def one_line(error: Exception) -> str:
    """What a library said, in one line of 200 characters at most."""
    return " ".join(str(error).split())[:200] or type(error).__name__
