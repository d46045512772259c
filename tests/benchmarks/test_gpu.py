from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import given, gpu


def test_without_a_gpu_nothing_is_pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    section = gpu.run("full")
    assert section.tables == []
    assert [(claim.measured, claim.promised, claim.holds) for claim in section.claims] == [
        ("not measured: no CUDA device here", "at least 95 %", None),
        ("not measured: no CUDA device here", "at most 12 GB", None),
        ("not measured: no CUDA device here", "none", None),
    ]


def test_the_same_code_runs_on_a_cpu() -> None:
    section = gpu.run("tiny")
    assert [claim.holds for claim in section.claims[1:]] == [None, None]
    (table,) = section.tables
    assert [row[0] for row in table.rows] == ["end to end", "data on the device"]
    params = given.settings("phantom", image={"size": 32, "store_size": 36})
    flops = gpu.training_flops(given.predictor_of(params, given.random_labels(4)).backbone, 32)
    assert [row[3] * 1e12 / row[1] for row in table.rows] == pytest.approx([flops, flops])


def test_data_on_the_device_are_not_read_again(tmp_path: Path) -> None:
    params = given.settings("phantom", image={"size": 32, "store_size": 36}, train={"batch_size": 4})
    trainer = gpu.random_trainer(torch.device("cpu"), params, "float32", 3, tmp_path / "store")
    read, sizes = trainer.data.store.read, []

    def counted(positions: np.ndarray) -> np.ndarray:
        sizes.append(len(positions))
        return read(positions)

    trainer.data.store.read = counted  # type: ignore[method-assign]
    gpu.timed(trainer, 1, tmp_path)
    # 3 batches to fill the device, then 3 in each of 2 epochs end to end; none in the 2 others.
    assert sizes == [4] * 9
    assert trainer.progress.steps == 12


def test_operations_of_a_training_step() -> None:
    convolution = nn.Conv2d(3, 8, kernel_size=3, padding=1)
    assert gpu.training_flops(convolution, 16) == 3 * 2 * (8 * 16 * 16) * (3 * 3 * 3)
    grouped = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=4))
    assert gpu.training_flops(grouped, 16) == 3 * 2 * (8 * 16 * 16) * (3 + 2 * 9)


def test_the_papers_network_takes_140_gflop_an_image() -> None:
    params = given.settings("paper")
    backbone = given.predictor_of(params, given.random_labels(4)).backbone
    assert gpu.training_flops(backbone, 380) == pytest.approx(140e9, rel=0.005)


def test_the_speed_of_a_matrix_product_is_in_operations_per_second() -> None:
    speeds = [gpu.matrix_speed(torch.device("cpu"), torch.float32, 64, products) for products in (1, 50)]
    assert all(1e6 < speed < 1e13 for speed in speeds)
