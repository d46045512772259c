from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file

from couplet.inference.engine import class_maps
from couplet.inference.fold_files import read_folds
from couplet.project.errors import UserError
from couplet.settings.schema.plugins import HEADS
from tests.support.bundles import LABELS, predictors, record_of, settings, view_of, write_folds


@pytest.mark.parametrize(
    "model",
    [
        {},
        {
            "backbone": "seresnext101_32x4d.gluon_in1k",
            "backbone_args": {
                "layers": [1, 1, 1, 1],
                "channels": [8, 16, 32, 64],
                "cardinality": 2,
                "base_width": 8,
            },
        },
        {"backbone": "convnext_atto", "backbone_args": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]}},
    ],
    ids=["resnet", "seresnext", "convnext"],
)
def test_timm_alone_gives_the_same_logits_to_the_last_bit(model: dict[str, Any], tmp_path: Path) -> None:
    params = settings(**model)
    folds = predictors(params)
    assert write_folds(tmp_path, params, folds) == ["timm", "timm"]
    view = view_of(params, folds[0], n=5)
    for k, predictor in enumerate(folds):
        network = timm.create_model(f"local-dir:{tmp_path}/fold_{k}", pretrained=True).eval()
        couplings = load_file(tmp_path / f"fold_{k}/refiner.safetensors")["A"]
        with torch.inference_mode():
            z = network(view)
            assert torch.equal(z, predictor.head(predictor.backbone(view)))
            assert torch.equal(z + params.refiner.alpha * (z.sigmoid() @ couplings), predictor(view))
        assert (couplings.diagonal() == 0).all() and (couplings != 0).any()


def test_timms_config_says_how_pictures_must_come(tmp_path: Path) -> None:
    params = settings()
    write_folds(tmp_path, params, predictors(params))
    config = json.loads((tmp_path / "fold_0/config.json").read_text())
    assert config["architecture"] == "resnet10t" and config["num_classes"] == 3
    assert config["model_args"] == params.model.backbone_args
    assert config["pretrained_cfg"]["label_names"] == LABELS
    network = timm.create_model(f"local-dir:{tmp_path}/fold_0", pretrained=True)
    found = timm.data.resolve_model_data_config(network)
    assert (found["input_size"], found["crop_pct"], found["crop_mode"]) == ([3, 64, 64], 1.0, "squash")
    assert found["interpolation"] == "bilinear" and [*found["mean"]] == [0.485, 0.456, 0.406]


@pytest.mark.parametrize("refiner", [True, False])
@pytest.mark.parametrize("head", ["linear", "gmp", "db_dgcn"])
def test_read_back_they_are_the_same_predictors(head: str, refiner: bool, tmp_path: Path) -> None:
    params = settings(head=head, refiner=refiner)
    folds = predictors(params)
    forms = write_folds(tmp_path, params, folds)
    assert forms == (["timm"] if head == "linear" else ["couplet"]) * 2
    own = {"linear": {"config.json", "model.safetensors"}}.get(head, {"predictor.safetensors"})
    own |= {"refiner.safetensors"} if refiner else set()
    assert {path.name for path in (tmp_path / "fold_0").iterdir()} == own
    view = view_of(params, folds[0])
    for before, after in zip(folds, read_folds(tmp_path, record_of(tmp_path, params, forms)), strict=True):
        with torch.inference_mode():
            assert torch.equal(before(view), after(view))
        assert not after.training


@pytest.mark.parametrize("levels", [{"kind": "cascade", "count": 3}, {"kind": "ag_cnn"}])
def test_a_chain_of_networks_has_couplets_names_and_comes_back(
    levels: dict[str, Any], tmp_path: Path
) -> None:
    params = settings(levels=levels)
    folds = predictors(params)
    forms = write_folds(tmp_path, params, folds)
    assert forms == ["couplet"] * 2
    view = view_of(params, folds[0])
    for before, after in zip(folds, read_folds(tmp_path, record_of(tmp_path, params, forms)), strict=True):
        with torch.inference_mode():
            assert torch.equal(before(view), after(view))
        assert class_maps(after, view, "float32") is None


@pytest.mark.parametrize("head", HEADS.names())
def test_every_head_comes_back(head: str, tmp_path: Path) -> None:
    params = settings(head=head)
    folds = predictors(params, 1)
    forms = write_folds(tmp_path, params, folds)
    (after,) = read_folds(tmp_path, record_of(tmp_path, params, forms))
    view = view_of(params, folds[0])
    with torch.inference_mode():
        assert torch.equal(folds[0](view), after(view))


@pytest.mark.parametrize("loss", ["asl", "bce", "focal", "bce_forward", "pairwise"])
def test_every_setting_of_trained_couplings_comes_back(loss: str, tmp_path: Path) -> None:
    changes = {"message": "calibrated", "steps": 2, "conditional": "gate", "sparsity": "proximal"}
    of_loss = {"loss.name": loss, "loss.args": {}}
    params = settings(changes={f"refiner.{key}": value for key, value in changes.items()} | of_loss)
    folds = predictors(params, 1)
    forms = write_folds(tmp_path, params, folds)
    assert forms == ["timm"]
    saved = load_file(tmp_path / "fold_0/refiner.safetensors")
    assert {"A", "gate.V", "gate.c"} <= saved.keys() and (saved["A"].diagonal() == 0).all()
    (after,) = read_folds(tmp_path, record_of(tmp_path, params, forms))
    view = view_of(params, folds[0])
    with torch.inference_mode():
        refined = folds[0](view)
        assert torch.equal(refined, after(view))
        assert not torch.equal(refined, folds[0].head(folds[0].backbone(view)))


def test_a_network_whose_classifier_timm_splits_carries_couplets_names(tmp_path: Path) -> None:
    distilled = {"backbone": "deit_tiny_distilled_patch16_224", "backbone_args": {"img_size": 64, "depth": 1}}
    params = settings(**distilled)
    folds = predictors(params, 1)
    forms = write_folds(tmp_path, params, folds)
    assert forms == ["couplet"]
    view = view_of(params, folds[0])
    (after,) = read_folds(tmp_path, record_of(tmp_path, params, forms))
    with torch.inference_mode():
        assert torch.equal(folds[0](view), after(view))


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    params = settings()
    forms = write_folds(tmp_path, params, predictors(params))
    bundle = record_of(tmp_path, settings(backbone_args={"channels": [8, 8, 16, 24], "stem_width": 8}), forms)
    with pytest.raises(
        UserError, match=r"fold_0 does not fit what config\.json describes \(.*\): export again"
    ):
        read_folds(tmp_path, bundle)
