"""docs/models.md: its blocks of code, run as they stand there, give the features and probabilities of couplet's own model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from couplet.images.loading.views import evaluation_view
from couplet.models.predictor import Predictor, build_predictor, load_predictor, normalisation, save_predictor
from couplet.project.project import HERE
from couplet.results.model_record import trained_params, write_model_record
from couplet.settings.params import Params
from tests.support.projects import ROOT
from tests.support.records import model_record

LABELS = ["Edema", "Nodule", "Effusion"]
SE_RESNEXT = {
    "backbone": "seresnext101_32x4d",
    "backbone_args": {
        "layers": [1, 1, 1, 1],
        "channels": [8, 16, 32, 64],
        "cardinality": 4,
        "base_width": 8,
    },
}


def saved_fold(folder: Path, **changes: Any) -> Predictor:
    """data/models/fold_0 as train_fold leaves it, with weights and batch statistics away from their start."""
    content = Params().as_dict()
    content["model"] |= {"pretrained": False} | SE_RESNEXT | changes
    content["image"] |= {"size": 64, "store_size": 64}
    params = Params.model_validate(content)
    truth = (np.random.default_rng(0).random((20, len(LABELS))) < 0.4).astype(np.float32)
    predictor = build_predictor(params, LABELS, 3, truth)
    torch.manual_seed(0)
    with torch.no_grad():
        for value in predictor.state_dict().values():
            if value.is_floating_point():
                value.add_(0.2 * (torch.rand_like(value) - 0.5))
    record = model_record(LABELS, trained_params(params))
    write_model_record(folder / HERE.model(0), record)
    save_predictor(folder / HERE.model(0) / "predictor.safetensors", predictor)
    return predictor.eval()


def run_block(number: int, names: dict[str, Any]) -> None:
    """Run a block of Python of the page as it stands there, with these names around it."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/models.md").read_text(), flags=re.DOTALL)
    exec(compile(blocks[number], f"docs/models.md, block {number}", "exec"), names)


@pytest.fixture
def images() -> torch.Tensor:
    stored = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (4, 1, 64, 64)).astype(np.uint8))
    return evaluation_view(stored, 64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backbone": "resnet18", "backbone_args": {"channels": [8, 8, 16, 16]}},
        {"head": "gmp", "head_args": {}},
        {"head": "db_dgcn", "head_args": {"dim": 16}},
    ],
)
def test_the_backbone_gives_the_same_features_in_plain_timm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: torch.Tensor, changes: dict[str, Any]
) -> None:
    predictor = saved_fold(tmp_path, **changes)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    run_block(0, names)
    with torch.no_grad():
        ours, theirs = predictor.backbone(images), names["network"](images)
    assert theirs.shape == ours.shape and float(ours.std()) > 0.01
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
    assert type(names["network"]).__module__.startswith("timm.")


@pytest.mark.parametrize("refined", [True, False])
def test_the_whole_model_gives_the_same_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: torch.Tensor, refined: bool
) -> None:
    saved_fold(tmp_path)
    monkeypatch.chdir(tmp_path)
    predictor = load_predictor(HERE.model(0))
    names: dict[str, Any] = {}
    run_block(0, names)
    if not refined:
        predictor.refiner = None
        del names["weights"]["refiner.A"]
    run_block(1, names)
    with torch.no_grad():
        ours, theirs = torch.sigmoid(predictor(images)), names["probabilities"](images)
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-6)
    assert float(ours.std()) > 0.01, "the images make a difference"
    assert normalisation(predictor.backbone)[0] == (0.485, 0.456, 0.406)
