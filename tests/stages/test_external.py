"""An external test through every stage: of the run's own images it says what the run says of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from couplet.evaluation.metrics import macro_auc
from couplet.project.project import HERE
from tests.bad_inputs.healthy import EXTERNAL, csv_project, external_project, finished
from tests.support.in_process import InProcessProject
from tests.support.pages import text_of

FILES = ("external.csv", "calibrated.csv", "decisions.csv")


@pytest.fixture(scope="module")
def itself(tmp_path_factory: pytest.TempPathFactory) -> InProcessProject:
    """The external test is a copy of the run's own data under another folder's name."""
    project = csv_project(tmp_path_factory.mktemp("itself") / "project")
    shutil.copytree(project.raw, project.raw.with_name("copy"))
    project.set({"data.external": {"source": "csv", "folder": "copy"}})
    return finished(project)


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> InProcessProject:
    return finished(external_project(tmp_path_factory.mktemp("tested") / "project"))


def table(project: InProcessProject, path: str) -> pd.DataFrame:
    return pd.read_csv(project.folder / path, index_col=0)


def test_the_runs_own_test_images_get_the_same_numbers(itself: InProcessProject) -> None:
    for name, of_run in zip(FILES, ("test.csv", "calibrated.csv", "decisions.csv"), strict=True):
        ours = table(itself, f"data/predictions/ensemble/{of_run}")
        theirs = table(itself, f"data/predictions/ensemble/external/{name}")
        assert len(theirs) == 24 > len(ours) > 0
        np.testing.assert_allclose(theirs.loc[ours.index], ours, rtol=0, atol=2e-7, err_msg=name)
    for fold in (0, 1):
        ours = table(itself, f"data/predictions/folds/fold_{fold}.csv")
        theirs = table(itself, f"data/predictions/external/fold_{fold}.csv")
        np.testing.assert_allclose(theirs.loc[ours.index], ours, rtol=0, atol=2e-7)


def test_everybody_in_training_is_counted(itself: InProcessProject) -> None:
    manifest = pd.read_csv(itself.folder / HERE.manifest, dtype=str)
    folds = pd.read_csv(itself.folder / HERE.folds, dtype=str)
    trained = manifest[(folds["fold"] != "test").to_numpy()]
    assert itself.entry("metrics/external.json", "patients_in_training") == trained["patient_id"].nunique()
    assert itself.entry("metrics/external.json", "pictures_in_training") == trained["picture"].nunique()
    page = text_of((itself.folder / "plots/report.html").read_text())
    assert "External test shares training data" in page and "of it are in training" in page
    assert "Not another population: 9 patients with the same id and 18 identical pictures" in page


def test_stored_as_the_runs_own_images_are(itself: InProcessProject) -> None:
    ours, theirs = (
        pd.read_csv(itself.folder / f"data/{name}/manifest.csv") for name in ("prepared", "external")
    )
    assert (theirs["part"] == "test").all()
    pd.testing.assert_frame_equal(ours.drop(columns="part"), theirs.drop(columns="part"))
    for name in ("shards.csv", "images-00000.npy"):
        assert (itself.folder / "data/external" / name).read_bytes() == (
            itself.folder / "data/prepared" / name
        ).read_bytes()
    assert not (itself.folder / "data/external/submission_rows.csv").exists()


def test_scores_are_over_the_shared_labels(tested: InProcessProject) -> None:
    scores = json.loads((tested.folder / "metrics/external.json").read_text())
    assert (scores["n_images"], scores["n_patients"]) == (8, 4)
    assert (scores["labels_shared"], scores["patients_in_training"], scores["pictures_in_training"]) == (
        2,
        0,
        0,
    )
    manifest = pd.read_csv(tested.folder / "data/external/manifest.csv", index_col=0)
    assert manifest["Rare"].isna().all() and manifest["Nodule"].tolist() == [0, 1] * 4
    found = table(tested, "data/predictions/ensemble/external/external.csv")
    shared = ["Edema", "Nodule"]
    assert scores["labels_scored"] == 2
    wanted = macro_auc(manifest[shared].to_numpy(np.float64), found[shared].to_numpy())[0]
    assert scores["external"]["auc_macro"] == pytest.approx(wanted, abs=5e-5)
    tested_here = table(tested, "data/predictions/ensemble/test.csv")
    truth = pd.read_csv(tested.folder / HERE.manifest, index_col=0).loc[tested_here.index, shared]
    wanted = macro_auc(truth.to_numpy(np.float64), tested_here[shared].to_numpy())[0]
    assert scores["internal"]["auc_macro"] == pytest.approx(wanted, abs=5e-5)
    q = table(tested, "data/predictions/ensemble/external/calibrated.csv")[shared]
    loss = -np.log(np.where(manifest[shared] == 1, q, 1 - q)).mean(axis=0).mean()
    assert scores["external"]["log_loss"] == pytest.approx(loss, abs=5e-5)


def test_the_mean_is_that_of_the_folds(tested: InProcessProject) -> None:
    by_fold = [table(tested, f"data/predictions/external/fold_{fold}.csv") for fold in (0, 1)]
    mean = table(tested, "data/predictions/ensemble/external/external.csv")
    np.testing.assert_allclose((by_fold[0] + by_fold[1]) / 2, mean, rtol=0, atol=1e-7)


def test_the_runs_own_results_are_those_without_it(tested: InProcessProject, tmp_path: Path) -> None:
    """Not one byte: an external test is added to a finished run, and taken out again."""
    alone = finished(csv_project(tmp_path / "project"))
    with_it, without = tested.outputs(), alone.outputs()
    for path in (
        "metrics/external.json",
        "data/external/labels.json",
        "params.yaml",
        "data/inventory.json",
        "plots/report.html",
    ):
        with_it.pop(path), without.pop(path)
    assert set(without) <= set(with_it)
    assert [
        path for path, content in without.items() if with_it[path] != content and "/external/" not in path
    ] == []
    extra = sorted(path for path in set(with_it) - set(without))
    assert extra == [
        "data/external/images-00000.npy",
        *(f"data/predictions/ensemble/external/{name}" for name in sorted(FILES)),
    ]
    assert alone.column("data/predictions/external/fold_0.csv", "image_id") == []
    assert json.loads((alone.folder / "metrics/external.json").read_text()) == {"n_images": 0}
    assert 'id="external"' not in (alone.folder / "plots/report.html").read_text()


def test_the_page_has_every_number_with_its_file(tested: InProcessProject) -> None:
    page = (tested.folder / "plots/report.html").read_text()
    section = page[page.index('<section id="external">') :]
    section = section[: section.index("</section>")]
    for name in FILES:
        digest = hashlib.md5(
            (tested.folder / "data/predictions/ensemble/external" / name).read_bytes()
        ).hexdigest()
        assert f'data-source="{digest}"' in section
    words = text_of(section)
    assert "8 images of 4 patients of csv" in words and "no patient of the same id" in words
    assert "Labels of this run that it does not know: Rare" in words and "lump" in words
    assert "External test nothing shared with training" in text_of(page)


def test_images_of_a_test_part_of_their_own(tested: InProcessProject, tmp_path: Path) -> None:
    shutil.copytree(tested.folder, tmp_path / "project", symlinks=True)
    project = InProcessProject(tmp_path / "project", "csv")
    labels = project.raw.with_name("other") / "labels.csv"
    rows = labels.read_text().splitlines()
    rows = [f"{row},{'part' if i == 0 else 'test' if i > 4 else 'train'}" for i, row in enumerate(rows)]
    labels.write_text("\n".join(rows) + "\n")
    project.set({"data.external": EXTERNAL | {"part": "test"}})
    for command in (("scan",), ("prepare",), ("evaluate-fold", "0")):
        assert project.run(*command).code == 0
    assert project.column("data/predictions/external/fold_0.csv", "image_id") == [
        f"{i}.png" for i in range(4, 8)
    ]


def test_couplings_fitted_after_training_refine_it_as_they_refine_the_test_part(
    itself: InProcessProject, tmp_path: Path
) -> None:
    shutil.copytree(itself.folder, tmp_path / "project", symlinks=True)
    project = InProcessProject(tmp_path / "project", "csv")
    before = table(project, "data/predictions/ensemble/external/external.csv")
    project.set({"refiner.enabled": True, "refiner.fit": "out_of_fold"})
    outcome = project.run("ensemble-predict")
    assert outcome.code == 0, outcome
    after = table(project, "data/predictions/ensemble/external/external.csv")
    assert np.abs(after - before).to_numpy().max() > 1e-3  # refined: no longer the networks' own outputs
    for name, of_run in zip(FILES, ("test.csv", "calibrated.csv", "decisions.csv"), strict=True):
        ours = table(project, f"data/predictions/ensemble/{of_run}")
        theirs = table(project, f"data/predictions/ensemble/external/{name}")
        np.testing.assert_allclose(theirs.loc[ours.index], ours, rtol=0, atol=2e-6, err_msg=name)
