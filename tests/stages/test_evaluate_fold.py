"""A model is asked only about the data that it was trained for."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from couplet.images.loading.store import ImageStore
from couplet.images.loading.views import evaluation_crops, evaluation_view
from couplet.inference.fold import FoldModel, load_fold
from couplet.models.predictor import normalisation
from couplet.project.project import Project as Paths
from couplet.results.manifest import Manifest, read_manifest
from couplet.running.arithmetic import NUMPY_CAP, TORCH_CAP
from couplet.settings.params import Params, load_params
from tests.bad_inputs.healthy import csv_project
from tests.support.in_process import InProcessProject

FOLDS = "data/splits/folds.csv"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> InProcessProject:
    """A project whose fold 0 is trained; nobody may change it."""
    project = csv_project(tmp_path_factory.mktemp("trained") / "project")
    project.set({"schedule.epochs": 1, "schedule.warmup_epochs": 0})
    for command in (("scan",), ("prepare",), ("split-mis",), ("train-fold", "0")):
        assert project.run(*command).code == 0
    return project


@pytest.fixture
def project(trained: InProcessProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcessProject:
    """A copy of it; what commands put into the environment is put back afterwards."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", *NUMPY_CAP, *TORCH_CAP):
        monkeypatch.setenv(variable, "1")
    for variable in (*NUMPY_CAP, *TORCH_CAP):
        monkeypatch.delenv(variable)
    shutil.copytree(trained.folder, tmp_path / "project", symlinks=True)
    return InProcessProject(tmp_path / "project", trained.source)


def test_the_images_of_its_own_fold_are_predicted(project: InProcessProject) -> None:
    assert project.run("evaluate-fold", "0").code == 0
    folds = pd.read_csv(project.folder / FOLDS, dtype=str)
    held_out = folds.loc[folds["fold"] == "0", "image_id"].tolist()
    assert project.column("data/predictions/folds/fold_0.csv", "image_id") == held_out


def test_a_model_that_has_seen_these_images_is_refused(project: InProcessProject) -> None:
    """Folds 0 and 1 have changed places: what is held out now was trained on."""
    table = pd.read_csv(project.folder / FOLDS, dtype=str)
    table["fold"] = table["fold"].replace({"0": "1", "1": "0"})
    table.to_csv(project.folder / FOLDS, index=False)
    before = project.outputs()
    outcome = project.run("evaluate-fold", "0")
    assert (outcome.code, outcome.err) == (
        1,
        [
            f"error: data/models/fold_0 was trained on another folds.csv than {FOLDS}: "
            "run `dvc repro train_fold@0`"
        ],
    )
    assert project.outputs() == before


def test_a_record_without_digests_is_refused(project: InProcessProject) -> None:
    """As it was written before the files themselves were hashed."""
    path = project.folder / "data/models/fold_0/config.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"data": {"data/prepared": "unknown 12"}}))
    assert "was trained on another manifest.csv" in project.run("evaluate-fold", "0").err[0]


def test_a_label_that_is_not_scored_is_predicted_and_in_no_mean(project: InProcessProject) -> None:
    assert project.run("evaluate-fold", "0").code == 0
    before, label = (
        project.outputs(),
        json.loads((project.folder / "data/prepared/labels.json").read_text())["labels"][0],
    )
    table = pd.read_csv(project.folder / "plots/per_label/fold_0.csv", index_col="label")
    project.set({"inference.unscored": [label]})
    assert project.run("evaluate-fold", "0").code == 0
    metrics = json.loads((project.folder / "metrics/fold_0.json").read_text())
    assert label in metrics["labels_skipped"]
    assert metrics["auc_macro"] == pytest.approx(table["auc"].drop(label).mean(), abs=1e-4)
    assert metrics["auc_macro"] != pytest.approx(table["auc"].mean(), abs=1e-4)
    after = project.outputs()
    assert {path for path in after if after[path] != before[path]} == {"metrics/fold_0.json", "params.yaml"}


def loaded(project: InProcessProject) -> tuple[Params, Manifest, FoldModel, np.ndarray]:
    """The settings, the manifest, the model of fold 0 and the rows of its images."""
    with contextlib.chdir(project.folder):
        params, here = load_params(Paths().params), read_manifest(Paths())
        fold = load_fold(0, params, here)
    folds = pd.read_csv(project.folder / FOLDS, dtype=str)
    return params, here, fold, np.flatnonzero(folds["fold"] == "0")


def test_a_gate_says_how_loudly_each_label_speaks(project: InProcessProject) -> None:
    """Against the gate's own formula, image by image; a model without one writes nothing of it."""
    assert project.run("evaluate-fold", "0").code == 0
    path = project.folder / "data/predictions/explanations/fold_0.npz"
    with np.load(path) as file:
        assert file.files == []
    project.set({"refiner.conditional": "gate", "optimizer.lr": 0.05, "refiner.lr_factor": 10.0})
    assert project.run("train-fold", "0").code == 0
    assert project.run("evaluate-fold", "0").code == 0
    with np.load(path) as file:
        gate = file["gate"]
    params, here, fold, rows = loaded(project)
    assert fold.predictor.refiner is not None and fold.predictor.refiner.gate is not None
    V, c = (value.double() for value in fold.predictor.refiner.gate.state_dict().values())
    with torch.no_grad():
        for i, row in enumerate(rows):
            stored = torch.from_numpy(
                ImageStore(project.folder / "data/prepared").read(here.positions[[row]])
            )
            view = evaluation_view(stored, params.image.size, *normalisation(fold.predictor.backbone))
            h = fold.predictor.backbone(view)[0].double()
            expected = [2 / (1 + math.exp(-float(V[label] @ h + c[label]))) for label in range(len(c))]
            assert gate[i].tolist() == pytest.approx(expected, abs=1e-5)
    assert gate.shape == (len(rows), len(here.labels)) and gate.std() > 0 and not (gate == 1).any()


def test_the_gate_of_a_chain_sees_the_features_of_its_last_level_in_each_crop(
    project: InProcessProject,
) -> None:
    project.set({"refiner.conditional": "gate", "optimizer.lr": 0.05, "refiner.lr_factor": 10.0})
    project.set({"model.levels": {"kind": "cascade", "count": 2}, "inference.view": "five"})
    assert project.run("train-fold", "0").code == 0
    assert project.run("evaluate-fold", "0").code == 0
    with np.load(project.folder / "data/predictions/explanations/fold_0.npz") as file:
        gate = file["gate"]
    params, here, fold, rows = loaded(project)
    refiner, size = fold.predictor.refiner, params.image.size
    assert refiner is not None and refiner.gate is not None
    stored = torch.from_numpy(ImageStore(project.folder / "data/prepared").read(here.positions[rows[:1]]))
    crops = evaluation_crops(stored, size, "five")
    with torch.no_grad():
        views = [evaluation_view(crop, size, *normalisation(fold.predictor.backbone)) for crop in crops]
        features = [fold.predictor.levels[-1].backbone(view) for view in views]
        expected = torch.stack([refiner.gate(of_one) for of_one in features]).mean(dim=0)
    assert len(crops) == 5 and gate[0].tolist() == pytest.approx(expected[0].tolist(), abs=1e-5)


def test_another_batch_size_changes_no_more_than_the_last_digits(project: InProcessProject) -> None:
    """Kernels add in another order for another size: that is why evaluate_fold follows it and train_fold does not."""
    found = []
    for size in (1, 3, 48):
        project.set({"inference.batch_size": size})
        assert project.run("evaluate-fold", "0").code == 0
        table = pd.read_csv(project.folder / "data/predictions/folds/fold_0.csv", index_col=0)
        found.append(table.to_numpy())
    np.testing.assert_allclose(found[0], found[2], rtol=0, atol=2e-6)
    np.testing.assert_allclose(found[1], found[2], rtol=0, atol=2e-6)
