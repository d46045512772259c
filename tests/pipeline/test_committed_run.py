"""The committed graph itself, in a fresh clone of HEAD: what a user sees in the first ten minutes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.committed


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, project_root: Path, project_class: Any) -> Any:
    folder = tmp_path_factory.mktemp("fresh") / "couplet"
    subprocess.run(["git", "clone", "-q", str(project_root), str(folder)], check=True)
    project = project_class(folder)
    project.run("git", "config", "user.name", "test")
    project.run("git", "config", "user.email", "test@example.org")
    project.run("dvc", "repro")
    return project


def test_the_run_is_the_committed_one(clone: Any) -> None:
    """Every byte is the same on the kind of CPU that the committed run comes from; elsewhere digits may move."""
    committed = json.loads(clone.run("git", "show", "HEAD:metrics/ensemble.json").stdout)
    now = clone.json("metrics/ensemble.json")
    for part in ("oof", "test"):
        assert now[part]["auc_macro"] == pytest.approx(committed[part]["auc_macro"], abs=0.02)
    if now == committed:
        assert clone.run("git", "status", "--porcelain").stdout == ""


def test_every_fold_of_the_phantom_is_learned(clone: Any) -> None:
    for fold in (0, 1, 2):
        assert clone.json(f"metrics/fold_{fold}.json")["auc_macro"] >= 0.80
    assert clone.json("metrics/split.json")["patients_in_two_folds"] == 0


def test_a_second_repro_does_nothing(clone: Any) -> None:
    assert "Data and pipelines are up to date" in clone.run("dvc", "repro").stdout


def test_the_ablation_as_in_the_readme(clone: Any) -> None:
    ran = clone.run("dvc", "exp", "run", "-n", "no-refiner", "-S", "refiner.enabled=false").stdout
    assert "Stage 'split_mis' didn't change, skipping" in ran
    assert "Running stage 'train_fold@0'" in ran
    difference = clone.run("dvc", "metrics", "diff", "HEAD", "no-refiner").stdout
    assert "oof.auc_macro" in difference
    clone.run("git", "checkout", ".")
    clone.run("dvc", "checkout")
    again = clone.run("dvc", "exp", "run", "-n", "again", "-S", "refiner.enabled=false").stdout
    assert "Running stage" not in again
    assert "Stage 'train_fold@2' is cached - skipping run" in again
