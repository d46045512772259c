"""Models follow from the data that is here: by `dvc repro -s`, by hand, and through DVC's run cache."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from tests.support.projects import COUPLET, MODEL, ROOT, TINY, Project, new_project

WEIGHTS = f"{MODEL}/predictor.safetensors"
FOLDS = "data/splits/folds.csv"
GOING_ON = "going on from its finished run"
TAG = "resnet10t.c3_in1k"
NET = {"channels": [8, 8, 16, 16], "stem_width": 8}


@pytest.fixture(scope="module")
def swapped(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Folds 0 and 2 have changed places, by an editor, and fold 0 was trained with `dvc repro -s`."""
    project = finished.copy_to(tmp_path_factory.mktemp("swapped") / "project")
    path = project.folder / FOLDS
    table = pd.read_csv(path, dtype=str)
    table["fold"] = table["fold"].replace({"0": "2", "2": "0"})
    path.unlink()
    table.to_csv(path, index=False)
    assert GOING_ON not in project.run("dvc", "repro", "-s", "train_fold@0").stdout
    return project


def sha256(project: Project, path: str = WEIGHTS) -> str:
    return hashlib.sha256((project.folder / path).read_bytes()).hexdigest()


def test_a_fold_is_trained_on_the_table_that_is_here(finished: Project, swapped: Project) -> None:
    """The finished run of the table before had the same entry in dvc.lock; its model has seen today's fold 0."""
    assert sha256(swapped) != sha256(finished)
    md5 = hashlib.md5((swapped.folder / FOLDS).read_bytes()).hexdigest()
    assert swapped.json(f"{MODEL}/config.json")["data"][FOLDS] == md5
    swapped.run("dvc", "repro", "-s", "evaluate_fold@0")


def test_the_run_cache_has_what_was_trained_on_that_table(swapped: Project, tmp_path: Path) -> None:
    project = swapped.copy_to(tmp_path / "project")
    shutil.rmtree(project.folder / MODEL)
    lock = project.lock()
    del lock["stages"]["train_fold@0"]
    (project.folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert "is cached" in project.run("dvc", "repro", "-s", "train_fold@0").stdout
    cached = project.bytes_of(MODEL)
    project.variables |= {"COUPLET_FRESH": "1", "COUPLET_SCRATCH": str(tmp_path / "scratch")}
    project.run("python", "stages/train_fold.py", "0")
    assert project.bytes_of(MODEL) == cached == swapped.bytes_of(MODEL)


def test_a_model_of_another_table_is_refused_and_the_remedy_brings_the_right_one(
    finished: Project, swapped: Project, tmp_path: Path
) -> None:
    project = finished.copy_to(tmp_path / "project")
    shutil.copy(swapped.folder / FOLDS, project.folder / FOLDS)
    refused = project.run("dvc", "repro", "-s", "evaluate_fold@0", check=False)
    remedy = "dvc repro train_fold@0"
    message = f"error: {MODEL} was trained on another folds.csv than {FOLDS}: run `{remedy}`"
    assert refused.returncode != 0 and message in refused.stderr.splitlines()

    project.run(*remedy.split())
    project.run("dvc", "repro")
    assert "up to date" in project.run("dvc", "status").stdout
    assert project.bytes_of("data/splits", "data/models") == finished.bytes_of("data/splits", "data/models")


def test_models_of_labels_that_were_turned_round_do_not_come_back(tmp_path: Path) -> None:
    """Made with one table, and with another by hand: what people met who changed branches without `dvc checkout`."""
    case = ROOT.parent / "shared/cases/stale_lock"
    if not case.is_dir():
        pytest.skip("no small cases beside this checkout (../shared/cases)")
    raw = tmp_path / "raw/csv"
    shutil.copytree(case / "images", raw / "images")
    labels = raw / "labels.csv"
    shutil.copy(case / "labels_a.csv", labels)
    changes = TINY | {"data.source": "csv", "split.folds": [0, 1], "train.batch_size": 4}
    changes |= {"schedule.epochs": 1, "schedule.warmup_epochs": 0}
    project = new_project(tmp_path / "project", "phantom", raw.parent, changes)
    project.run("dvc", "repro", "train_fold@0")
    project.commit("a")
    first = sha256(project)

    labels.write_bytes((case / "labels_b.csv").read_bytes())
    project.run(*COUPLET, "scan")
    project.run("python", "stages/prepare.py")
    project.run("python", "stages/split_mis.py")
    assert GOING_ON not in project.run("dvc", "repro", "-s", "train_fold@0").stdout
    second = sha256(project)
    assert second != first
    project.run("dvc", "repro")  # to the report: all folds are of one data set
    assert sha256(project) == second
    assert "up to date" in project.run("dvc", "status").stdout
    project.variables["COUPLET_FRESH"] = "1"
    project.run("dvc", "repro", "-f", "-s", "train_fold@0")
    assert sha256(project) == second


def test_replaced_weights_are_seen_once_they_are_scanned_and_refused_before(
    raw: Path, tmp_path: Path
) -> None:
    """W2, then W3 with another learning rate, then the first rate again: the run cache must not bring back W2."""
    weights = tmp_path / "project/data/weights"
    weights.mkdir(parents=True)

    def replace(seed: int) -> str:
        torch.manual_seed(seed)
        path = weights / f"{TAG}.safetensors"
        network = timm.create_model("resnet10t", **NET)
        save_file(network.state_dict(), path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    second = replace(2)
    changes = TINY | {"model.backbone": TAG, "model.backbone_args": NET, "model.pretrained": True}
    changes |= {"schedule.epochs": 1, "schedule.warmup_epochs": 0}
    project = new_project(tmp_path / "project", "phantom", raw, changes)
    expected = {TAG: {"file": f"{TAG}.safetensors", "sha256": second}}
    assert project.json("data/weights.json") == expected
    assert "data/weights.json" in project.run("git", "ls-files", "data").stdout.splitlines()
    project.run("dvc", "repro", "train_fold@0")
    assert "train_fold@0" not in json.loads(project.run("dvc", "status", "--json").stdout)

    third = replace(3)
    project.set_params({"optimizer.lr": 0.004})
    refused = project.run("dvc", "repro", "train_fold@0", check=False)
    assert refused.returncode != 0 and "as data/weights.json says: restore the file, or run" in refused.stderr
    project.run(*COUPLET, "scan")
    changed = json.loads(project.run("dvc", "status", "--json", "train_fold@0").stdout)["train_fold@0"]
    assert changed[0]["changed deps"]["data/weights.json"] == "modified"
    project.run("dvc", "repro", "train_fold@0")
    project.set_params({"optimizer.lr": 0.008})
    assert "is cached" not in project.run("dvc", "repro", "train_fold@0").stdout
    assert project.json(f"{MODEL}/config.json")["weights"] == third


def test_settings_that_change_no_model_train_nothing_again(finished: Project, tmp_path: Path) -> None:
    """Their values give the same bytes under portable arithmetic: with one image, and with a short last batch."""
    project = finished.copy_to(tmp_path / "project")
    project.variables["COUPLET_SCRATCH"] = str(tmp_path / "scratch")
    n_validation = len(pd.read_csv(project.folder / "data/predictions/folds/fold_0.csv"))
    assert n_validation % 7 != 0
    for changes in (
        {"inference.batch_size": 7},
        {"inference.batch_size": 1, "train.checkpoint_minutes": 1e-6},
    ):
        project.set_params(changes)
        status = json.loads(project.run("dvc", "status", "--json").stdout)
        assert "train_fold@0" not in status and "evaluate_fold@0" in status
        shutil.rmtree(project.folder / MODEL)
        shutil.rmtree(tmp_path / "scratch", ignore_errors=True)
        assert GOING_ON not in project.run("python", "stages/train_fold.py", "0").stdout
        assert project.bytes_of(MODEL) == finished.bytes_of(MODEL)
