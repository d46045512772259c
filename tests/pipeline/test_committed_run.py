"""The committed graph itself, in a fresh clone of HEAD: what a user sees in the first ten minutes."""

from __future__ import annotations

import re
import shutil
import subprocess
from hashlib import md5

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


def test_the_models_are_those_of_the_documents(clone: Project) -> None:
    if lacks_avx2() is not None:
        pytest.skip(str(lacks_avx2()))
    text = " ".join((ROOT / "docs/reliability.md").read_text(encoding="utf-8").split())
    models = [clone.folder / f"data/models/fold_{fold}/predictor.safetensors" for fold in (0, 1, 2)]
    said = ", ".join(f"fold {k} {md5(path.read_bytes()).hexdigest()}" for k, path in enumerate(models))
    assert f"Models of the committed run (md5 of predictor.safetensors): {said}." in text


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


def test_the_summary_of_a_pull_request_that_changes_no_result(clone: Project) -> None:
    """The base is run in a clone of its own, out of the same cache; what is here stays as it is."""
    branches = clone.run("git", "branch", "--list").stdout
    summary = clone.run(".ci/compare", "HEAD").stdout
    said = " ".join(summary.split())
    assert said.startswith(
        "### This run (A) against the base (B), both of this machine ``` A: workspace (seed 42, "
    )
    assert (
        "settings: none differs device, precision, arithmetic, library versions and code: all the same"
        in said
    )
    assert "A - B 0.00000, no interval: the two give the same on every patient (selected), p = 1.0000" in said
    assert clone.run("git", "status", "--porcelain").stdout == ""
    assert clone.run("git", "branch", "--list").stdout == branches


def test_the_ablation_as_in_the_readme(clone: Project) -> None:
    """The first repeat of both arms, what may be said of one, and the way back: all are this machine's own."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    runs = [
        line.replace("$r", "1").split() for line in re.findall(r"^ +(dvc exp run -n .*\$r .*)$", readme, re.M)
    ]
    assert [command[4] for command in runs] == ["on-1", "off-1"]
    for command in runs:
        ran = clone.run(*command).stdout
        assert "Stage 'split_mis' didn't change, skipping" in ran
        assert "Running stage 'train_fold@0'" in ran
        assert "as params.yaml does" in ran
    assert "$ couplet compare 'on-*' 'off-*'" in readme
    said = " ".join(clone.run("couplet", "compare", "on-*", "off-*").stdout.split())
    assert said.startswith(
        "A: on-1 (seed 42, train.repeat 1) B: off-1 (seed 42, train.repeat 1) oof: 1078 images of 441 "
    )
    assert " settings that differ: refiner.enabled: A true, B false device, precision, " in said
    assert said.endswith("on patients like these; nothing about the method (one repeat)")
    assert "verdict: these two trained ensembles " in said
    difference = clone.run("dvc", "metrics", "diff", "on-1", "off-1").stdout
    assert "oof.auc_macro" in difference
    shown = clone.run("dvc", "exp", "show", "--csv").stdout
    assert "on-1" in shown and "off-1" in shown

    assert "\ngit checkout params.yaml && dvc repro\n" in readme
    clone.run("git", "checkout", "params.yaml")
    assert "Running stage" not in clone.run("dvc", "repro").stdout
    assert "up to date" in clone.run("dvc", "status").stdout
    assert clone.run("git", "status", "--porcelain").stdout == ""
    again = clone.run(
        "dvc", "exp", "run", "-n", "again", "-S", "train.repeat=1", "-S", "refiner.enabled=false"
    )
    assert "Running stage" not in again.stdout
    assert "Stage 'train_fold@2' is cached - skipping run" in again.stdout


def test_its_test_images_are_predicted_again_as_if_they_were_new(clone: Project) -> None:
    """`couplet predict` on the raw files: the ensemble's own calibrated probabilities, byte for byte."""
    clone.run("couplet", "predict", "data/raw/phantom/test2", "--out", "new.csv")
    rows = (clone.folder / "new.csv").read_text().splitlines()
    assert rows[0].startswith("image_id,status,reason,")
    without = "\n".join(re.sub("^([^,]*),(ok|status),(reason|),", r"\1,", row) for row in rows) + "\n"
    assert without == (clone.folder / "data/predictions/ensemble/calibrated.csv").read_text()
    (clone.folder / "new.csv").unlink()
    (clone.folder / "new.decisions.csv").unlink()
