"""Outputs of folds that split.folds no longer lists: exactly what the graph writes, and nothing that people name alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from couplet.project.errors import UserError
from couplet.project.project import Project
from couplet.running.stale import prune, refuse_stale_folds, stale_fold_outputs
from couplet.settings.schema.split import SplitParams

# What the graph writes of a fold, in the order in which `prune` names it.
WRITTEN = [
    "data/models/fold_3",
    "data/predictions/explanations/fold_3.npz",
    "data/predictions/folds/fold_3.csv",
    "data/predictions/test/fold_3.csv",
    "metrics/fold_3.json",
    "plots/history/fold_3.csv",
    "plots/per_label/fold_3.csv",
]
# What is somebody's own: no stage writes it.
OWN = [
    "data/models/fold_0_backup/predictor.safetensors",
    "data/models/fold_3_before/predictor.safetensors",
    "data/models/fold_best/predictor.safetensors",
    "data/models/fold_03/predictor.safetensors",
    "data/models/fold_-1/predictor.safetensors",
    "data/models/fold_3.5/predictor.safetensors",
    "data/models/fold_\u0663/predictor.safetensors",  # a digit, and no number that we write
    "data/models/fold_4",  # a file where a model has a folder
    "data/predictions/folds/fold_mean.csv",
    "data/predictions/folds/fold_3_calibrated.csv",
    "data/predictions/test/fold_.csv",
    "metrics/fold_notes.json",
    "metrics/fold_4.json/x",  # a folder where metrics are a file
    "metrics/fold_3.json.bak",
    "plots/history/fold_3 (copy).csv",
    "plots/per_label/fold_3.png",
]


def fill(root: Path, paths: list[str]) -> None:
    for name in paths:
        path = root / name
        if name.endswith("models/fold_3"):
            path = path / "config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    fill(tmp_path, [path.replace("fold_3", "fold_0") for path in WRITTEN if "models" not in path])
    fill(tmp_path, ["data/models/fold_0/config.json", *WRITTEN, *OWN])
    return Project(tmp_path)


def names(paths: list[Path], project: Project) -> list[str]:
    return [path.relative_to(project.root).as_posix() for path in paths]


def test_only_what_the_graph_writes_is_found(project: Project) -> None:
    assert names(stale_fold_outputs([0], project), project) == WRITTEN
    assert stale_fold_outputs([0, 1, 2, 3], project) == []


def test_prune_leaves_what_is_somebodys_own(project: Project) -> None:
    before = {path for path in project.root.rglob("*") if path.is_file()}
    assert names(prune([0], project), project) == WRITTEN
    left = {path for path in project.root.rglob("*") if path.is_file()}
    assert names(sorted(before - left), project) == ["data/models/fold_3/config.json", *WRITTEN[1:]]
    assert prune([0], project) == []


def test_a_fold_of_many_digits_is_one_of_ours(tmp_path: Path) -> None:
    fill(tmp_path, ["metrics/fold_12.json", "metrics/fold_1.json"])
    assert stale_fold_outputs([0, 1], Project(tmp_path)) == [tmp_path / "metrics/fold_12.json"]


def test_of_a_linked_model_the_link_goes_and_the_model_stays(tmp_path: Path) -> None:
    fill(tmp_path, ["elsewhere/config.json"])
    (tmp_path / "data/models").mkdir(parents=True)
    (tmp_path / "data/models/fold_3").symlink_to(tmp_path / "elsewhere")
    assert prune([0, 1], Project(tmp_path)) == [tmp_path / "data/models/fold_3"]
    assert not (tmp_path / "data/models/fold_3").is_symlink()
    assert (tmp_path / "elsewhere/config.json").exists()


def test_they_are_refused_by_name(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    with pytest.raises(UserError) as caught:
        refuse_stale_folds(SplitParams(folds=[0], holdout=0.1).folds)
    assert str(caught.value) == (
        "data/models/fold_3 and 6 more belong to folds that split.folds = [0] does not have: run `couplet prune`, "
        "then `dvc repro`"
    )
    for path in WRITTEN[:-1]:
        (project.root / path).rename(project.root / f"{path}.own")
    with pytest.raises(UserError, match=r"^plots/per_label/fold_3\.csv belongs to a fold that split\.folds"):
        refuse_stale_folds([0])
