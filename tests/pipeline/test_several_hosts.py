"""Folds on several hosts: a clone for each, what they made comes together through a DVC remote or one cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.projects import MODEL, Project, untrained

FROM_RUN_CACHE = "is cached - skipping run, checking out outputs"


def clone(project: Project, folder: Path) -> Project:
    """A clone with nothing but what is in git, and a scratch of its own."""
    project.run("git", "clone", "-q", ".", str(folder))
    scratch = {"COUPLET_SCRATCH": str(folder.with_name(f"{folder.name}.scratch"))}
    return Project(folder, project.variables | scratch)


@pytest.fixture
def head(finished: Project, tmp_path: Path) -> Project:
    """A project that is split, and whose fold 0 is nowhere trained."""
    project = untrained(finished, tmp_path / "head")
    project.commit("split")
    return project


@pytest.mark.slow
@pytest.mark.parametrize("shared", ["remote", "cache"])
def test_a_fold_that_another_host_trained_is_taken_over(
    finished: Project, head: Project, tmp_path: Path, shared: str
) -> None:
    if shared == "remote":
        head.run("dvc", "remote", "add", "-d", "store", str(tmp_path / "remote"))
        head.commit("remote")
        head.run("dvc", "push", "--run-cache")
    host = clone(head, tmp_path / "host")
    if shared == "cache":
        head.run("dvc", "config", "--local", "cache.dir", str(tmp_path / "cache"))
        (head.folder / ".dvc/cache").rename(tmp_path / "cache")
        host.run("dvc", "config", "--local", "cache.dir", str(tmp_path / "cache"))
        host.run("dvc", "config", "--local", "cache.type", "reflink,hardlink")

    pull = ["--pull"] if shared == "remote" else []  # DVC refuses it where there is no remote
    if shared == "cache":
        host.run("dvc", "checkout", "prepare", "split_mis")
    said = host.run("dvc", "repro", *pull, "-s", "train_fold@0").stdout
    assert "images to train on" in said
    if shared == "remote":
        host.run("dvc", "push", "--run-cache", "train_fold@0")
    said = head.run("dvc", "repro", *pull, "train_fold@0").stdout
    assert f"Stage 'train_fold@0' {FROM_RUN_CACHE}" in said and "images to train on" not in said
    assert head.bytes_of(MODEL) == finished.bytes_of(MODEL)
