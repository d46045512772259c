"""A loss that is corrected for labels that are missing: what is exported is the risk of the clean label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import couplet
from couplet.images.loading.store import ImageStore
from couplet.project.project import Project
from couplet.results.bundle import read_bundle
from couplet.results.manifest import read_manifest
from couplet.results.predictions import read_predictions
from couplet.running.arithmetic import NUMPY_CAP, TORCH_CAP
from tests.bad_inputs.healthy import csv_project, finished

RATES = {"missing_rate": [0.4, 0.2, 0.0], "flip_rate": 0.1}


def test_the_exported_graph_gives_the_pipelines_outputs_and_never_those_of_the_observed_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", *NUMPY_CAP, *TORCH_CAP):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    project = csv_project(tmp_path / "project")
    project.set({"loss": {"name": "bce_forward", "args": RATES}, "refiner.message": "calibrated"})
    outcome = finished(project).run("export", "--onnx", "--openvino")
    assert (outcome.code, outcome.err) == (0, [])
    bundle, paths = project.folder / "data/bundle", Project(project.folder)
    assert read_bundle(bundle).calibration["loss"]["args"] == RATES
    manifest = read_manifest(paths)
    ids = np.array(project.column("data/predictions/ensemble/test.csv", "image_id"))
    rows = np.array([np.flatnonzero(manifest.ids == name)[0] for name in ids])
    images = ImageStore(paths.prepared).read(manifest.positions[rows])
    clean = read_predictions(paths.ensemble / "test.csv", manifest.labels, ids)
    assert np.array_equal(couplet.load(bundle).predict(images), clean)
    kept = 1 - np.array(RATES["missing_rate"])
    observed = 0.1 + 0.8 * kept * clean
    for engine in ("onnx", "openvino"):
        found = couplet.load(bundle, engine).predict(images)
        assert np.abs(found - clean).max() < 1e-5
        assert np.abs(found - observed).max(axis=0).min() > 1e-3

    assert project.run("predict", "data/raw/csv/images", "--model", "data/bundle", "--out", "b.csv").code == 0
    assert project.run("predict", "data/raw/csv/images", "--out", "m.csv").code == 0
    assert (project.folder / "b.csv").read_bytes() == (project.folder / "m.csv").read_bytes()
