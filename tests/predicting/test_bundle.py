"""`couplet predict` with an exported bundle gives what it gives with the project's own models."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from couplet.predicting.writers import decisions_path
from tests.support.in_process import InProcessProject

IMAGES = "data/raw/csv/images"


def numbers(path: Path) -> np.ndarray:
    return pd.read_csv(path).iloc[:, 3:].to_numpy(np.float64)


def test_every_engine_of_a_bundle_in_a_folder_of_its_own(project: InProcessProject, tmp_path: Path) -> None:
    assert project.run("export", "--onnx", "--openvino").code == 0
    assert project.run("predict", IMAGES, "--view", "AP", "--out", "models.csv").code == 0
    alone = InProcessProject(tmp_path / "elsewhere", "csv")
    shutil.copytree(project.folder / "data/bundle", alone.folder / "b")
    images = str(project.folder / IMAGES)
    for engine in ("torch", "onnx", "openvino"):
        given = ("--model", "b", "--engine", engine, "--view", "AP", "--out", f"{engine}/p.csv")
        outcome = alone.run("predict", images, *given)
        assert (outcome.code, outcome.err) == (0, []), outcome
    own = project.folder / "models.csv"
    assert (alone.folder / "torch/p.csv").read_bytes() == own.read_bytes()
    decisions = decisions_path(alone.folder / "torch/p.csv").read_bytes()
    assert decisions == decisions_path(own).read_bytes() and decisions.count(b"\n") == 25
    for engine in ("onnx", "openvino"):
        assert np.abs(numbers(alone.folder / f"{engine}/p.csv") - numbers(own)).max() < 1e-5


def test_maps_of_a_bundle_are_the_projects(project: InProcessProject) -> None:
    assert project.run("export").code == 0
    for folder, model in (("a", ()), ("b", ("--model", "data/bundle"))):
        assert project.run("predict", IMAGES, "--maps", folder, "--out", f"{folder}.csv", *model).code == 0
    for path in (project.folder / "a").iterdir():
        assert path.read_bytes() == (project.folder / "b" / path.name).read_bytes()
