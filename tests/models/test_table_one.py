"""Systems of the first paper's Table I as presets: their sizes, and that each trains, is killed, goes on and predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from couplet.datasets.grand_xray_slam import LABELS
from couplet.images.loading.draws import image_keys, uniforms
from couplet.images.loading.views import N_DRAWS, crop_boxes
from couplet.inference.predict import predict_probabilities
from couplet.models.predictor import build_predictor
from couplet.phantom.cohort import draw_cohort
from couplet.phantom.drawing import draw_image
from couplet.results.metadata import by_position
from couplet.settings.params import Params, parse_params
from couplet.settings.presets import load_preset
from couplet.training.loss import build_loss
from couplet.training.state import FoldData
from tests.support.folds import killed_and_resumed
from tests.support.params import set_dotted
from tests.support.stores import write_store

SIZE, STORED, N_TRAIN, N_VAL = 64, 72, 26, 14
RESNET = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_width": 8}
THIN: dict[str, dict[str, Any]] = {
    "kufel": {"backbone": "resnet10t", "backbone_args": RESNET},
    "xiong": {
        "backbone": "convnextv2_atto",
        "backbone_args": {"depths": [1, 1, 2, 1], "dims": [8, 8, 16, 16]},
    },
    "chen": {"backbone": "resnet10t", "backbone_args": RESNET},
    "yao": {"backbone": "densenet121", "backbone_args": {"growth_rate": 4, "block_config": [1, 1, 1, 1]}},
    "baltruschat": {
        "backbone": "resnet50",
        "backbone_args": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]},
    },
    "taslimi": {
        "backbone": "swin_tiny_patch4_window7_224",
        "backbone_args": {"img_size": SIZE, "window_size": 2, "depths": [1, 1, 1, 1], "embed_dim": 16},
    },
}


@pytest.mark.parametrize(
    ("name", "backbone", "head", "frozen"),
    [
        ("kufel", 6_513_184, 664_078, 0),
        ("xiong", 87_692_800, 2_633_231, 49_573_888),
        ("chen", 26_666_562, 10_766, 0),
        ("yao", 6_953_856, 247_614, 0),
        ("baltruschat", 17_577_792, 30_780, 0),  # (2048 + 3) x 15 + 15
        ("taslimi", 194_995_476, 8_555_246, 0),
    ],
)
def test_its_network_has_the_papers_size(name: str, backbone: int, head: int, frozen: int) -> None:
    params = load_preset(name)
    n_labels = 15 if params.data.source_args.get("no_finding") else 14
    with torch.device("meta"):
        predictor = build_predictor(params, [f"{i}" for i in range(n_labels)], 0, load_pretrained=False)
    sizes = [
        sum(parameter.numel() for parameter in part.parameters())
        for part in (predictor.backbone, predictor.head, predictor)
    ]
    assert sizes == [backbone, head, backbone + head], "no refiner"
    assert frozen == sum(p.numel() for p in predictor.parameters() if not p.requires_grad)


def thin(name: str) -> Params:
    """The preset as it is, but for a thin network, small pictures and three short epochs."""
    content = load_preset(name).as_dict()
    content["model"] |= {"pretrained": False, **THIN[name]}
    small = {
        "image.size": SIZE,
        "image.store_size": STORED,
        "schedule.epochs": 3,
        "schedule.warmup_epochs": min(1, content["schedule"]["warmup_epochs"]),
        "schedule.milestones": [1, 2] if content["schedule"]["milestones"] else [],
        "train.batch_size": 8,
        "train.precision": "float32",
    }
    return parse_params(set_dotted(content, small), name)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> FoldData:
    """Pictures of the embedded data set, each of another patient of its cohort."""
    patients = draw_cohort(N_TRAIN + N_VAL, seed=42)
    findings = [patient.studies[0].positives for patient in patients]
    pictures = (draw_image(found, "PA", seed, STORED)[None] for seed, found in enumerate(findings))
    store = write_store(tmp_path_factory.mktemp("phantom"), pictures)
    truth = np.array([[label in found for label in LABELS] for found in findings], dtype=np.float32)
    random, rows = np.random.default_rng(0), np.arange(N_TRAIN + N_VAL)
    known = np.where(random.random((len(rows), 3)) < 0.2, np.nan, random.random((len(rows), 3)))
    train, val = rows[:N_TRAIN], rows[N_TRAIN:]
    ids, metadata = [f"{i}" for i in train], by_position(known.astype(np.float32), rows)
    return FoldData(store, ids, train, truth[train], val, truth[val], metadata)


@pytest.mark.parametrize(
    "name", [name if name == "kufel" else pytest.param(name, marks=pytest.mark.slow) for name in THIN]
)
def test_it_trains_on_the_phantom_is_killed_goes_on_and_predicts(
    phantom: FoldData, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = thin(name)
    data = phantom
    if not params.model.metadata:
        data = FoldData(**{**vars(phantom), "metadata": None})
    run = killed_and_resumed(data, tmp_path, params, last=4, monkeypatch=monkeypatch)
    assert run.progress.steps == 9 and not run.progress.skipped
    told = None if data.metadata is None else data.metadata[data.val_positions]
    probabilities = predict_probabilities(
        run.predictor,
        data.store,
        data.val_positions,
        size=SIZE,
        batch_size=6,
        tta=params.inference.tta,
        view=params.inference.view,
        metadata=told,
        precision="float32",
    )
    assert probabilities.shape == (N_VAL, len(LABELS)) and np.isfinite(probabilities).all()
    assert np.ptp(probabilities, axis=0).min() > 0, "pictures must not all give the same"


def test_taslimis_loss_is_smoothed_cross_entropy_of_two_outputs_summed_over_labels() -> None:
    torch.manual_seed(0)
    two_logits = 5 * torch.randn(6, 14, 2, dtype=torch.float64)
    truth = (torch.rand(6, 14) < 0.3).double()
    per_label = [
        functional.cross_entropy(two_logits[:, label], truth[:, label].long(), label_smoothing=0.1)
        for label in range(14)
    ]
    loss = build_loss(load_preset("taslimi").loss, truth.numpy())
    found = loss(two_logits[..., 1] - two_logits[..., 0], truth)
    torch.testing.assert_close(found, torch.stack(per_label).sum(), rtol=1e-12, atol=0)


def test_baltruschats_crop_is_never_resized() -> None:
    params = load_preset("baltruschat")
    draws = uniforms(image_keys(f"{i}" for i in range(200)), 42, 0, 0, N_DRAWS)
    boxes = crop_boxes(draws, params.image.store_size, params.image.size, params.augment)
    assert (boxes[:, 2:] == 448).all()
    assert boxes[:, :2].min() == 0 and boxes[:, :2].max() == 480 - 448
