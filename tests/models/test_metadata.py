"""What a head reads beside the pooled features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from couplet.inference.predict import predict_probabilities
from couplet.models.chains import beside
from couplet.models.head import head_class
from couplet.models.predictor import Predictor, build_predictor, load_predictor, save_predictor
from couplet.project.errors import UserError
from couplet.results.model_record import trained_params, write_model_record
from couplet.settings.params import Params
from couplet.settings.schema.plugins import HEADS
from couplet.training.state import FoldData
from tests.support.errors import refused
from tests.support.folds import LABELS, N_TRAIN, N_VAL, killed_and_resumed, made_up_fold, settings
from tests.support.params import params_with
from tests.support.records import model_record

HEADS_THAT_READ = ("label_mlp", "linear", "lstm", "mlp")
MEAN = np.array([0.4, 0.25], dtype=np.float32)


def with_metadata(head: str = "linear", **changes: Any) -> Params:
    return settings(model__head=head, model__head_args={}, model__metadata=["age", "sex"], **changes)


def built(head: str, mean: np.ndarray | None = MEAN) -> Predictor:
    return build_predictor(with_metadata(head), LABELS, 0, metadata_mean=mean).eval()


def test_the_heads_that_may_read_it_are_those_of_pooled_features() -> None:
    reads = [name for name in HEADS.names() if getattr(HEADS.settings(name), "READS_METADATA", False)]
    assert tuple(reads) == HEADS_THAT_READ
    assert all(head_class(name).reads == "vector" for name in reads)
    changes = {"model.head": "db_dgcn", "model.metadata": ["age"]}
    assert refused(params_with, changes) == (
        "params.yaml: model.metadata is ['age'], and model.head = db_dgcn reads a feature map alone: set model.metadata "
        "to [], or model.head to one of label_mlp, linear, lstm, mlp"
    )
    with pytest.raises(UserError, match="model.metadata names a column twice"):
        params_with({"model.metadata": ["age", "age"]})
    with pytest.raises(UserError, match="weight"):
        params_with({"model.metadata": ["weight"]})


@pytest.mark.parametrize("head", HEADS_THAT_READ)
@torch.no_grad()
def test_it_stands_behind_the_features_and_the_mean_for_what_is_unknown(head: str) -> None:
    predictor, images = built(head), torch.randn(3, 3, 32, 32)
    told = torch.tensor([[0.9, 1.0], [float("nan"), 0.0], [float("nan"), float("nan")]])
    features = predictor.backbone(images)
    filled = torch.tensor([[0.9, 1.0], [0.4, 0.0], [0.4, 0.25]])
    assert torch.equal(beside(features, predictor.told(3, told)), torch.cat([features, filled], dim=1))
    logits = predictor(images, metadata=told)
    expected = predictor.refined(predictor.head(torch.cat([features, filled], dim=1)), features)
    assert torch.equal(logits, expected) and logits.shape == (3, 3)
    torch.testing.assert_close(predictor(images)[2], logits[2])  # nothing known of any
    assert not torch.allclose(predictor(images)[:2], logits[:2])


@torch.no_grad()
def test_with_columns_of_zero_the_classifier_is_the_one_without() -> None:
    predictor, images = built("linear"), torch.randn(2, 3, 32, 32)
    n = predictor.backbone.num_features
    assert predictor.head.classifier.weight.shape == (3, n + 2)
    plain = build_predictor(settings(), LABELS, 0).eval()
    plain.backbone.load_state_dict(predictor.backbone.state_dict())
    predictor.head.classifier.weight[:, n:] = 0
    plain.head.classifier.weight.copy_(predictor.head.classifier.weight[:, :n])
    plain.head.classifier.bias.copy_(predictor.head.classifier.bias)
    torch.testing.assert_close(predictor(images, metadata=torch.rand(2, 2)), plain(images))
    assert "metadata_mean" not in plain.state_dict()


def test_the_file_holds_the_mean_and_loads_without_any_data(tmp_path: Path) -> None:
    params = with_metadata()
    predictor = build_predictor(params, LABELS, 0, metadata_mean=MEAN).eval()
    save_predictor(tmp_path / "predictor.safetensors", predictor)
    write_model_record(tmp_path, model_record(LABELS, trained_params(params)))
    loaded = load_predictor(tmp_path)
    assert loaded.metadata_mean is not None
    np.testing.assert_array_equal(loaded.metadata_mean.numpy(), MEAN)
    images, told = torch.randn(2, 3, 32, 32), torch.tensor([[0.5, float("nan")], [float("nan"), 1.0]])
    with torch.no_grad():
        assert torch.equal(loaded(images, metadata=told), predictor(images, metadata=told))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FoldData:
    """Age says the second label, of which the pictures say nothing; sex is known of the first image only."""
    fold = made_up_fold(tmp_path_factory.mktemp("prepared"))
    truth = np.concatenate([fold.train_truth, fold.val_truth])
    known = np.stack([np.where(truth[:, 1] == 1, 0.9, 0.1), np.full(len(truth), np.nan)], axis=1)
    known[1], known[0, 1] = np.nan, 1.0
    return replace(fold, metadata=known.astype(np.float32))


def test_training_and_validation_read_each_images_own_and_a_killed_run_goes_on(
    data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = with_metadata(
        model__dropout=0.0, optimizer__lr=0.05, refiner__enabled=False, schedule__epochs=6, train__patience=6
    )
    run = killed_and_resumed(data, tmp_path, params, 7, monkeypatch)
    batch = run.batch(torch.zeros(4, 1, 32, 32, dtype=torch.uint8), np.array([3, 1, 0, 2]))
    assert batch.metadata is not None and data.metadata is not None
    np.testing.assert_array_equal(batch.metadata.numpy(), data.metadata[[3, 1, 0, 2]])
    own = data.metadata[N_TRAIN:]
    arguments: dict[str, Any] = {"size": 32, "batch_size": 5, "tta": True, "precision": "float32"}
    told = predict_probabilities(run.predictor, data.store, data.val_positions, metadata=own, **arguments)
    for i in (0, 6, N_VAL - 1):  # of three batches
        alone = predict_probabilities(
            run.predictor, data.store, data.val_positions[[i]], metadata=own[[i]], **arguments
        )
        np.testing.assert_allclose(alone[0], told[i], atol=1e-5)
    untold = predict_probabilities(run.predictor, data.store, data.val_positions, **arguments)
    assert np.abs(told - untold).max() > 0.01
    weight = run.predictor.head.classifier.weight[:, -2:].detach()
    assert weight[1, 0] > weight[[0, 2], 0].max(), "age speaks for the label that it says"
