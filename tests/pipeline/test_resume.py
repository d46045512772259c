"""A killed trainer goes on where it stopped, and ends with the same bytes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.projects import MODEL, Project, kill_trainer, progress_of, untrained, wait_for


@pytest.fixture(scope="module")
def stepwise(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that writes a checkpoint after every batch, with fold 0 trained undisturbed."""
    project = finished.copy_to(tmp_path_factory.mktemp("stepwise") / "project")
    project.set_params({"train.checkpoint_minutes": 1e-6})
    project.run("dvc", "repro", "train_fold@0")
    return project


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_trainer_killed_in_any_epoch_ends_with_the_same_bytes(
    stepwise: Project, tmp_path: Path, epoch: int
) -> None:
    project = untrained(stepwise, tmp_path / "project")
    kill_trainer(project, tmp_path / "scratch", (epoch, 2))
    assert progress_of(tmp_path / "scratch")[0] == epoch

    said = project.run("python", "stages/train_fold.py", "0").stdout
    assert f"going on from epoch {epoch + 1}, batch " in said
    assert project.bytes_of(MODEL) == stepwise.bytes_of(MODEL)


def test_dvc_killed_while_the_trainer_lives_on(stepwise: Project, tmp_path: Path) -> None:
    """The second trainer waits for the first instead of racing it."""
    project = untrained(stepwise, tmp_path / "project")
    dvc = project.start("dvc", "repro", "train_fold@0")
    wait_for(lambda: progress_of(tmp_path / "scratch") >= (0, 2), dvc)
    os.kill(dvc.pid, signal.SIGKILL)
    dvc.wait()
    project.run("dvc", "repro", "train_fold@0")
    assert project.bytes_of(MODEL) == stepwise.bytes_of(MODEL)
    assert "didn't change" in project.run("dvc", "repro", "train_fold@0").stdout


def test_settings_changed_while_training_write_nothing(stepwise: Project, tmp_path: Path) -> None:
    project = untrained(stepwise, tmp_path / "project")
    trainer = project.start("python", "stages/train_fold.py", "0")
    wait_for(lambda: progress_of(tmp_path / "scratch") >= (0, 1), trainer)
    project.set_params({"refiner.lambda": 0.5})
    assert trainer.wait(120) == 1
    assert not (project.folder / MODEL / "config.json").exists()


def test_fresh_starts_over(stepwise: Project, tmp_path: Path) -> None:
    project = untrained(stepwise, tmp_path / "project")
    project.run("python", "stages/train_fold.py", "0")
    assert "going on from" in project.run("python", "stages/train_fold.py", "0").stdout
    project.variables["COUPLET_FRESH"] = "1"
    assert "going on from" not in project.run("python", "stages/train_fold.py", "0").stdout
    assert project.bytes_of(MODEL) == stepwise.bytes_of(MODEL)
