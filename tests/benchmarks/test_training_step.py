from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import given, plain, training_step
from benchmarks.harness import Section
from couplet.models.device import resolve_precision


@pytest.fixture(scope="module")
def section() -> Section:
    return training_step.run("tiny")


def test_both_learn_the_same(section: Section) -> None:
    assert section.claims[1].promised == "at most 0.0001"
    assert section.claims[1].holds


def test_a_loop_that_does_something_else_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain.PlainLoop, "step", lambda *_: 0.0)
    assert training_step.disagreement() > 0.01


def test_the_tables(section: Section) -> None:
    steps, predictions = section.tables
    for table, images in ((steps, 4), (predictions, 6)):
        assert [row[:3] for row in table.rows] == [
            ["thin SE-ResNeXt", images, 1],
            ["thin ResNet + DB-DGCN", images, 1],
        ]
        for row in table.rows:
            assert len(row) == len(table.columns)
            assert (row[3] * row[5], row[4] * row[6]) == pytest.approx((images, images))
    # The same weights: bf16 has 8 bits of them, float32 adds in another order only.
    least, most = (1e-6, 5e-3) if resolve_precision("auto", torch.device("cpu")) == "bf16" else (0, 1e-5)
    assert all(least <= row[-1] <= most for row in predictions.rows)


def test_the_opponents_step_is_the_papers() -> None:
    params = given.settings("phantom", image={"size": 32, "store_size": 36}, schedule={"warmup_epochs": 0})
    loop = plain.PlainLoop(given.predictor_of(params, given.random_labels(8)), params, 10)
    # ASL at p = 1/2: -log(1/2), and -(0.45 ** 4) log(0.55); summed over labels, averaged over images.
    logits, targets = torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert loop.criterion(logits, targets).item() == pytest.approx((0.69315 + 3 * 0.02451) / 2, abs=1e-4)

    weight = loop.model.backbone.network.conv1[0].weight
    before = weight.detach().clone()
    loop.step(torch.randn(4, 3, 32, 32), torch.from_numpy(given.random_labels(4)))
    moved = (weight - before).abs()
    assert moved.max().item() == pytest.approx(params.optimizer.lr, rel=1e-2)  # Adam's first step
    average = loop.ema.module.backbone.network.conv1[0].weight.detach()
    np.testing.assert_allclose(average, 0.999 * before + 0.001 * weight.detach(), atol=1e-7)
    assert not weight.is_contiguous(memory_format=torch.channels_last)


def test_prediction_averages_the_two_probabilities() -> None:
    network = torch.nn.Flatten()  # its logits are the pixels
    images = torch.tensor([[[[0.0, 2.0]]]])
    mean = (0.5 + 1 / (1 + np.exp(-2))) / 2
    np.testing.assert_allclose(plain.probabilities(network, images), [[mean, mean]], rtol=1e-6)
