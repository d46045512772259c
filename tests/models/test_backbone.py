from __future__ import annotations

import hashlib
import pickle
import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from couplet.models.backbone import create_backbone, normalisation
from couplet.models.head import head_class
from couplet.project.errors import UserError
from couplet.settings.params import ModelParams
from couplet.settings.schema.plugins import HEADS

PAPER = "seresnext101_32x4d.gluon_in1k"
THIN = {"layers": [1, 1, 1, 1], "channels": [8, 16, 32, 64], "cardinality": 4, "base_width": 8}


def model(**changes) -> ModelParams:
    settings = {"backbone": PAPER, "pretrained": False, "backbone_args": THIN} | changes
    return ModelParams(**settings)


def thin_network(**changes) -> torch.nn.Module:
    arguments = {key: tuple(v) if isinstance(v, list) else v for key, v in (THIN | changes).items()}
    return timm.create_model("seresnext101_32x4d", **arguments)


def weights_file(folder: Path, name: str = PAPER, **changes) -> tuple[Path, dict[str, torch.Tensor]]:
    """A file as the timm hub has it: with a classifier for 1,000 classes."""
    torch.manual_seed(7)
    tensors = thin_network(**changes).state_dict()
    path = folder / f"{name}.safetensors"
    save_file(tensors, path)
    return path, tensors


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Nothing here may reach a network or a hub cache, wherever the tests run."""
    import huggingface_hub
    from huggingface_hub import constants

    def refuse(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)


# --- features -----------------------------------------------------------------------------------------------


def test_linear_gets_pooled_features_and_the_other_heads_the_map(tmp_path):
    images = torch.randn(2, 3, 64, 64)
    torch.manual_seed(0)
    pooled = create_backbone(model(), tmp_path, 64).eval()
    torch.manual_seed(0)
    mapped = create_backbone(model(head="gmp"), tmp_path, 64).eval()
    assert pooled.num_features == mapped.num_features == 256  # 64 channels times the block's expansion of 4
    assert pooled(images).shape == (2, 256) and mapped(images).shape == (2, 256, 2, 2)
    torch.testing.assert_close(mapped(images).mean(dim=(2, 3)), pooled(images))
    assert pooled.weights == "none"


def test_a_map_with_channels_last_comes_with_channels_first(tmp_path):
    arguments = {"img_size": 64, "window_size": 2, "depths": [1, 1, 1, 1], "embed_dim": 16}
    settings = model(backbone="swin_tiny_patch4_window7_224.ms_in1k", backbone_args=arguments, head="db_dgcn")
    backbone = create_backbone(settings, tmp_path, 64).eval()
    images = torch.randn(2, 3, 64, 64)
    features = backbone(images)
    assert backbone.num_features == 128 and features.shape == (2, 128, 2, 2)
    assert torch.equal(features, backbone.network(images).permute(0, 3, 1, 2))


def test_normalisation_is_that_of_the_weights(tmp_path):
    assert normalisation(create_backbone(model(), tmp_path, 64)) == (
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    )
    other = create_backbone(
        model(backbone="coatnet_nano_rw_224.sw_in1k", backbone_args={"img_size": 64}), tmp_path, 64
    )
    assert normalisation(other) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_trying_an_image_leaves_batch_statistics_mode_and_generator_alone(tmp_path):
    torch.manual_seed(0)
    thin_network(num_classes=0)
    expected = torch.random.get_rng_state()
    torch.manual_seed(0)
    backbone = create_backbone(model(), tmp_path, 64)
    assert torch.equal(torch.random.get_rng_state(), expected)
    assert backbone.training and all(module.training for module in backbone.modules())
    assert backbone.network.bn1.running_mean.abs().sum() == 0


# --- mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "size", "words"),
    [
        ({"backbone": "seresnext101_32x4", "backbone_args": {}}, 64, ["did you mean", "seresnext101_32x4d"]),
        ({"backbone": "hf-hub:someone/net"}, 64, ["is no network of timm"]),
        ({"backbone": "seresnext101_32x4d.gluon_in2k"}, 64, ["no such weights", PAPER]),
        ({"backbone_args": {"widht": 3}}, 64, ["'widht'", PAPER]),
        ({"backbone_args": {"layers": 3}}, 64, ["{'layers': 3}"]),
        ({"backbone_args": {"num_classes": 3}}, 64, ["model.backbone_args.num_classes", "remove"]),
        ({"backbone_args": {"checkpoint_path": "x.pth"}}, 64, ["model.backbone_args.checkpoint_path"]),
        (
            {"backbone": "swin_tiny_patch4_window7_224.ms_in1k", "backbone_args": {"depths": [1, 1, 1, 1]}},
            380,
            ["image.size = 380", "224"],
        ),
        (
            {
                "backbone": "vit_tiny_patch16_224",
                "backbone_args": {"depth": 1, "img_size": 64},
                "head": "db_dgcn",
            },
            64,
            ["model.head = db_dgcn", "vit_tiny_patch16_224", "(1, 17, 192)"],
        ),
    ],
)
def test_mistakes_are_one_line_that_names_the_setting(tmp_path, changes, size, words):
    with pytest.raises(UserError) as caught:
        create_backbone(model(**changes), tmp_path, size)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("head", [name for name in HEADS.names() if head_class(name).reads == "map"])
def test_every_head_that_reads_a_map_refuses_a_backbone_without_one(tmp_path, head):
    without = {"backbone": "vit_tiny_patch16_224", "backbone_args": {"depth": 1, "img_size": 64}}
    with pytest.raises(UserError, match=rf"model.head = {head} cannot read model.backbone = vit_tiny"):
        create_backbone(model(**without, head=head), tmp_path, 64)


def test_a_bare_name_is_refused_with_pretrained_and_fine_without(tmp_path):
    bare = model(backbone="seresnext101_32x4d")
    assert create_backbone(bare, tmp_path, 64).num_features == 256
    with pytest.raises(UserError, match=r"changes over time: write seresnext101_32x4d\.gluon_in1k"):
        create_backbone(bare.model_copy(update={"pretrained": True}), tmp_path, 64)


# --- pretrained weights -------------------------------------------------------------------------------------


def test_pretrained_weights_are_exactly_the_files(tmp_path):
    path, tensors = weights_file(tmp_path)
    backbone = create_backbone(model(pretrained=True), tmp_path, 64)
    got = backbone.network.state_dict()
    assert set(got) == {key for key in tensors if not key.startswith("fc.")}
    assert all(torch.equal(got[key], tensors[key]) for key in got)
    assert backbone.weights == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "state_dict" not in backbone.network.pretrained_cfg
    assert normalisation(backbone) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def refused(folder: Path, **changes) -> str:
    with pytest.raises(UserError) as caught:
        create_backbone(model(pretrained=True, **changes), folder, 64)
    message = str(caught.value)
    assert "\n" not in message
    return message


def remedy(message: str) -> bool:
    return f"data/weights/{PAPER}.safetensors, or set model.pretrained=false" in message


def test_without_file_and_network_it_fails_at_once_in_one_line(tmp_path):
    begun = time.monotonic()
    message = refused(tmp_path)
    assert time.monotonic() - begun < 5
    assert remedy(message) and f"timm/{PAPER}" in message and "the timm hub did not give them" in message


def test_a_pickle_named_safetensors_is_refused(tmp_path):
    class Danger:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / f"{PAPER}.safetensors").write_bytes(pickle.dumps(Danger()))
    message = refused(tmp_path)
    assert remedy(message) and "is not a safetensors file" in message
    assert not (tmp_path / "ran").exists()


def test_a_pickle_beside_is_named_and_not_loaded(tmp_path):
    torch.save(thin_network().state_dict(), tmp_path / f"{PAPER}.pth")
    message = refused(tmp_path)
    assert remedy(message) and f"{PAPER}.pth is not loaded, only safetensors are" in message


def test_weights_of_other_shapes_are_refused(tmp_path):
    weights_file(tmp_path, channels=(8, 16, 32, 128))
    message = refused(tmp_path)
    assert remedy(message) and "do not fit" in message and "size mismatch" in message


def test_weights_that_lack_a_layer_are_refused(tmp_path):
    path, tensors = weights_file(tmp_path)
    del tensors["layer3.0.conv2.weight"]
    save_file(tensors, path)
    message = refused(tmp_path)
    assert remedy(message) and "layer3.0.conv2.weight" in message


def test_an_empty_file_of_weights_is_refused(tmp_path):
    save_file({}, tmp_path / f"{PAPER}.safetensors")
    assert remedy(refused(tmp_path))


def test_a_wrong_argument_is_not_blamed_on_the_weights(tmp_path):
    weights_file(tmp_path)
    message = refused(tmp_path, backbone_args=THIN | {"widht": 3})
    assert "'widht'" in message and not remedy(message)


def test_weights_from_the_hubs_cache_are_the_same_as_from_the_file(tmp_path, monkeypatch):
    import huggingface_hub

    path, tensors = weights_file(tmp_path, "model")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(path))
    backbone = create_backbone(model(pretrained=True), tmp_path, 64)
    assert torch.equal(backbone.network.conv1.weight, tensors["conv1.weight"])
    assert backbone.weights == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_untrained_network_never_asks_for_weights(tmp_path, monkeypatch):
    import couplet.models.backbone as module

    monkeypatch.setattr(module, "pretrained_tensors", pytest.fail)
    create_backbone(model(), tmp_path, 64)
