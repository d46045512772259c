"""The committed graph itself, in a fresh clone of HEAD: what a user sees in the first ten minutes."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from couplet.running.arithmetic import lacks_avx2
from tests.support.projects import ROOT, Project

pytestmark = pytest.mark.committed


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("fresh") / "couplet"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    project = Project(folder)
    project.run("git", "config", "user.name", "test")
    project.run("git", "config", "user.email", "test@example.org")
    project.run("dvc", "repro")
    return project


def test_the_run_is_the_committed_one_byte_for_byte(clone: Project) -> None:
    """On every x86-64 CPU with AVX2: arithmetic is portable."""
    if lacks_avx2() is not None:
        pytest.skip(str(lacks_avx2()))
    assert clone.run("git", "status", "--porcelain").stdout == ""
    said = clone.run("couplet", "committed").stdout
    assert said == "the results are those of the last commit, byte for byte\n"


def test_what_the_committed_lock_names_is_in_the_readers_cache(clone: Project) -> None:
    """So that the way back from anything, `git checkout . && dvc checkout`, works in this clone too."""
    if lacks_avx2() is not None:
        pytest.skip(str(lacks_avx2()))
    shutil.rmtree(clone.folder / "data/models")
    clone.run("dvc", "checkout")
    assert "up to date" in clone.run("dvc", "status").stdout


def test_every_fold_of_the_phantom_is_learned(clone: Project) -> None:
    for fold in (0, 1, 2):
        assert clone.json(f"metrics/fold_{fold}.json")["auc_macro"] >= 0.80
    assert clone.json("metrics/split.json")["patients_in_two_folds"] == 0


def test_a_second_repro_does_nothing(clone: Project) -> None:
    assert "Data and pipelines are up to date" in clone.run("dvc", "repro").stdout


def test_the_ablation_as_in_the_readme(clone: Project) -> None:
    """Both arms are this machine's own, and so is the way back."""
    clone.run("dvc", "exp", "run", "-n", "baseline")
    ran = clone.run("dvc", "exp", "run", "-n", "no-refiner", "-S", "refiner.enabled=false").stdout
    assert "Stage 'split_mis' didn't change, skipping" in ran
    assert "Running stage 'train_fold@0'" in ran
    assert "as params.yaml does" in ran
    difference = clone.run("dvc", "metrics", "diff", "baseline", "no-refiner").stdout
    assert "oof.auc_macro" in difference
    clone.run("dvc", "exp", "apply", "baseline")
    assert "up to date" in clone.run("dvc", "status").stdout
    assert clone.run("git", "status", "--porcelain").stdout == ""
    again = clone.run("dvc", "exp", "run", "-n", "again", "-S", "refiner.enabled=false").stdout
    assert "Running stage" not in again
    assert "Stage 'train_fold@2' is cached - skipping run" in again
