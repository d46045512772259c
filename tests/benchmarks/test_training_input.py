from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import given, plain, training_input
from benchmarks.harness import Section
from couplet.images.loading.views import N_DRAWS, evaluation_view, training_view


@pytest.fixture(scope="module")
def section() -> Section:
    return training_input.run("tiny")


def test_who_runs(section: Section) -> None:
    speed = section.tables[0]
    assert [row[0] for row in speed.rows] == [
        "files, 1 worker",
        "files, 2 workers",
        "files, grey until the tensor, 1 worker",
        "memory-mapped array, 1 worker",
        "couplet, all on the CPU",
        "couplet, view on a device",
    ]
    for _, _, cpu_ms, per_core, _ in speed.rows:
        assert cpu_ms * per_core == pytest.approx(1000)
    assert speed.rows[0][4] == 1
    assert [claim.promised for claim in section.claims] == [
        "at least 10x",
        "at least 2x",
        "at most 1.01 grey levels",
    ]


def test_both_pipelines_give_the_same_pixels(section: Section) -> None:
    stored, evaluated, trained = section.tables[1].rows
    assert stored[1:] == [0, 0]
    assert evaluated[1] <= 1.01 and evaluated[2] < 0.5  # Pillow rounds to whole grey levels, twice
    assert trained[2] < 2  # not antialiased, and drawn letters are sharp
    assert section.claims[2].holds


def test_shape_and_normalisation_of_a_grey_image(tmp_path: Path) -> None:
    Image.new("L", (40, 40), 128).save(tmp_path / "grey.png")
    files, draws = [tmp_path / "grey.png"], np.full((1, N_DRAWS), 0.5)  # in the middle: no rotation
    expected = (128 / 255 - np.array(plain.MEAN)) / np.array(plain.STD)
    stored = torch.full((1, 1, 40, 40), 128, dtype=torch.uint8)
    transform = plain.training_transforms(32)
    transform.transforms[2].degrees = [0.0, 0.0]  # type: ignore[attr-defined]
    views = [
        evaluation_view(stored, 32, plain.MEAN, plain.STD)[0],
        training_view(stored, draws, 32, training_input.AUGMENT, plain.MEAN, plain.STD)[0],
        *(plain.Images(files, np.zeros((1, 14)), transform, mode)[0][0] for mode in ("RGB", "L")),
        plain.Images(np.full((1, 40, 40), 128, np.uint8), np.zeros((1, 14)), transform)[0][0],
    ]
    for view in views:
        assert view.shape == (3, 32, 32) and view.dtype == torch.float32
        np.testing.assert_allclose(view.permute(1, 2, 0), np.broadcast_to(expected, (32, 32, 3)), atol=1e-5)


def test_every_image_is_loaded_once_whatever_the_number_of_workers(tmp_path: Path) -> None:
    files = given.drawn_xrays(tmp_path / "files", 5, 32)
    labels = np.arange(5, dtype=np.float32)[:, None]
    dataset = plain.Images(files, labels, plain.training_transforms(32))
    for workers in (1, 2):
        seen = torch.cat([targets for _, targets in plain.loader(dataset, 2, workers)])
        assert sorted(seen[:, 0].tolist()) == [0, 1, 2, 3, 4]
    assert [len(images) for images, _ in plain.loader(dataset, 2, 1, drop_last=True)] == [2, 2]
