"""A whole run in the manner of Baltruschat et al.: metadata, crops, an unscored label and a test part dealt anew."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torchvision.transforms.v2.functional import ten_crop

from couplet.images.loading.store import ImageStore
from couplet.models.predictor import load_predictor, normalisation
from couplet.project.project import Project
from couplet.results.folds import read_folds
from couplet.results.manifest import read_manifest
from couplet.results.metadata import metadata
from tests.bad_inputs.healthy import finished, nih_project, picture
from tests.support.in_process import InProcessProject

N = 48
SETTINGS = {
    "data.source_args": {"no_finding": True},
    "split.own_test": False,
    "model.metadata": ["age", "sex", "view"],
    "inference.view": "five",
    "inference.unscored": ["No Finding"],
    "refiner.enabled": False,
    "loss.name": "bce",
    "loss.args": {"pos_weight": False},
    "loss.reduction": "mean",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> InProcessProject:
    project = nih_project(tmp_path_factory.mktemp("run") / "project")
    project.set(SETTINGS)
    head = (project.raw / "Data_Entry_2017_v2020.csv").read_text().splitlines()[0]
    names, rows = [f"{i:08d}_000.png" for i in range(1, N + 1)], [head]
    for i, name in enumerate(names):
        picture(i).save(project.raw / "images" / name)
        found = ("Mass", "No Finding", "Edema|Mass", "Edema")[i % 4]
        rows.append(f"{name},{found},0,{i // 2 + 1},{20 + i},{'MF'[i % 2]},{('PA', 'AP', '')[i % 3]}")
    (project.raw / "Data_Entry_2017_v2020.csv").write_text("\n".join(rows) + "\n")
    (project.raw / "train_val_list.txt").write_text("\n".join(names[:40]) + "\n")
    (project.raw / "test_list.txt").write_text("\n".join(names[40:]) + "\n")
    return finished(project)


def test_the_official_test_images_are_dealt_with_all_others(run: InProcessProject) -> None:
    folds = pd.read_csv(run.folder / "data/splits/folds.csv", dtype=str).set_index("image_id")["fold"]
    official = [f"{i:08d}_000.png" for i in range(41, N + 1)]
    assert (folds == "test").sum() == 12 and set(folds[official]) != {"test"}
    submitted = pd.read_csv(run.folder / "data/predictions/ensemble/submission.csv")
    assert sorted(submitted["image_id"]) == sorted(folds.index[folds == "test"])


def test_what_is_predicted_is_the_mean_of_ten_crops_with_each_images_metadata(run: InProcessProject) -> None:
    with contextlib.chdir(run.folder):
        manifest = read_manifest(Project())
        held_out = np.flatnonzero(read_folds(manifest) == "0")
        images = ImageStore(Path("data/prepared")).read(manifest.positions[held_out])
        predictor = load_predictor(Path("data/models/fold_0"))
        told = torch.from_numpy(metadata(manifest, ["age", "sex", "view"])[held_out])
        weights = load_file("data/models/fold_0/predictor.safetensors")
        trained = (read_folds(manifest) != "0") & (read_folds(manifest) != "test")
        known = metadata(manifest, ["age", "sex", "view"])[trained]
    np.testing.assert_allclose(weights["metadata_mean"], np.nanmean(known, axis=0), rtol=1e-6)
    assert np.isnan(told.numpy()).any() and not np.isnan(told.numpy()).all()
    mean, std = (torch.tensor(three)[:, None, None] for three in normalisation(predictor.backbone))
    with torch.no_grad():
        crops = ten_crop(torch.from_numpy(images).float() / 255, [32, 32])
        logits = [predictor((crop - mean) / std, metadata=told) for crop in crops]
    expected = torch.stack(logits).sigmoid().mean(dim=0)
    table = pd.read_csv(run.folder / "data/predictions/folds/fold_0.csv", index_col="image_id")
    assert list(table.index) == manifest.ids[held_out].tolist()
    np.testing.assert_allclose(table.to_numpy(), expected.numpy(), atol=2e-5)


def test_no_finding_is_predicted_and_in_no_mean(run: InProcessProject) -> None:
    metrics, ensemble = (
        json.loads((run.folder / path).read_text())
        for path in ("metrics/fold_0.json", "metrics/ensemble.json")
    )
    assert "No Finding" in metrics["labels_skipped"] and "No Finding" in ensemble["oof"]["labels_skipped"]
    per_label = pd.read_csv(run.folder / "plots/per_label/fold_0.csv", index_col="label")["auc"]
    assert np.isfinite(per_label["No Finding"])
    assert metrics["auc_macro"] == pytest.approx(per_label.drop("No Finding").mean(), abs=1e-4)
    assert run.report_says("trained, but left out of every mean (inference.unscored): No Finding")


def test_new_pictures_are_predicted_with_the_means_which_is_said(run: InProcessProject) -> None:
    before = run.outputs()
    outcome = run.run("predict", "data/raw/nih/images", "--out", "elsewhere.csv")
    assert outcome.code == 0, outcome
    said = "the models read age, sex, view beside a picture (model.metadata), which nobody tells them here"
    assert any(line.startswith(said) for line in [*outcome.out, *outcome.err])
    assert run.outputs() == before
    assert run.run("export").err == [
        "error: params.yaml: model.metadata is ['age', 'sex', 'view'], and a bundle predicts from pictures alone: none is "
        "written"
    ]
