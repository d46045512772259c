"""A fold that torchrun's processes share, stopped and killed as schedulers do it: the bytes of one process."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.projects import MODEL, Project, progress_of, untrained, wait_for

LAUNCH = "COUPLET_LAUNCH_TRAIN_FOLD"
TORCHRUN = "torchrun --standalone --nproc-per-node={}"
STAGE = ("python", "stages/train_fold.py", "0")


@pytest.fixture(scope="module")
def in_parts(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose steps are two parts, with a checkpoint after each, and fold 0 trained by one process."""
    project = finished.copy_to(tmp_path_factory.mktemp("in_parts") / "project")
    project.set_params({"train.batch_size": 16, "train.parts": 2, "train.checkpoint_minutes": 1e-6})
    project.run("dvc", "repro", "train_fold@0")
    return project


def with_processes(project: Project, size: int) -> Project:
    project.variables.pop(LAUNCH, None)
    if size > 1:
        project.variables[LAUNCH] = TORCHRUN.format(size)
    return project


def ranks_of(torchrun: int) -> dict[int, int]:
    """Rank to number of the process, of what torchrun has started."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            variables = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if parent == torchrun:
            found |= {int(v[5:]): int(folder.name) for v in variables if v.startswith(b"RANK=")}
    return found


def test_two_processes_under_dvc_give_the_bytes_of_one(in_parts: Project, tmp_path: Path) -> None:
    project = with_processes(untrained(in_parts, tmp_path / "project"), 2)
    said = project.run("dvc", "repro", "train_fold@0")
    assert project.bytes_of(MODEL) == in_parts.bytes_of(MODEL)
    lines = [line for line in said.stdout.splitlines() if "images to train on" in line]
    assert len(lines) == 1, "one process speaks"
    # Where it ran is no part of what it follows from.
    assert (
        with_processes(project, 1).run("dvc", "status", "train_fold@0").stdout.strip().endswith("up to date.")
    )


def test_torchrun_that_gets_sigterm_leaves_a_checkpoint_that_one_process_takes_over(
    in_parts: Project, tmp_path: Path
) -> None:
    project = with_processes(untrained(in_parts, tmp_path / "project"), 2)
    process = subprocess.Popen(
        STAGE,
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: progress_of(tmp_path / "scratch") >= (1, 1), process)
    process.send_signal(signal.SIGTERM)
    _, complaints = process.communicate(timeout=120)
    assert process.returncode != 0, "torchrun does not give on its processes' 143"
    stopped = [line for line in complaints.splitlines() if line.startswith("fold 0: stopped by SIGTERM")]
    epoch, batch = progress_of(tmp_path / "scratch")
    assert stopped == [
        f"fold 0: stopped by SIGTERM at epoch {epoch + 1}, batch {batch + 1}: run `dvc repro` to go on"
    ]
    said = with_processes(project, 1).run(*STAGE).stdout
    assert f"fold 0: going on from epoch {epoch + 1}, batch {batch + 1}" in said
    assert project.bytes_of(MODEL) == in_parts.bytes_of(MODEL)


@pytest.mark.slow
def test_one_process_that_gets_sigterm_ends_with_143_and_two_go_on(in_parts: Project, tmp_path: Path) -> None:
    project = with_processes(untrained(in_parts, tmp_path / "project"), 1)
    process = subprocess.Popen(
        STAGE, cwd=project.folder, env=project.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    wait_for(lambda: progress_of(tmp_path / "scratch") >= (0, 1), process)
    process.send_signal(signal.SIGTERM)
    _, complaints = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert complaints.decode().splitlines()[-1].startswith("fold 0: stopped by SIGTERM at epoch ")
    assert not (project.folder / MODEL / "config.json").exists()
    assert "going on from" in with_processes(project, 2).run(*STAGE).stdout
    assert project.bytes_of(MODEL) == in_parts.bytes_of(MODEL)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_others_and_nothing_is_lost(
    in_parts: Project, tmp_path: Path, rank: int
) -> None:
    project = with_processes(untrained(in_parts, tmp_path / "project"), 2)
    process = project.start(*STAGE)
    wait_for(lambda: progress_of(tmp_path / "scratch") >= (1, 1), process)
    ranks = ranks_of(process.pid)  # the stage has replaced itself: its number is torchrun's
    assert sorted(ranks) == [0, 1]
    os.kill(ranks[rank], signal.SIGKILL)
    assert process.wait(timeout=120) == 1
    assert not any(Path(f"/proc/{number}").exists() for number in ranks.values())
    assert not (project.folder / MODEL / "config.json").exists()
    assert "going on from" in project.run(*STAGE).stdout
    assert project.bytes_of(MODEL) == in_parts.bytes_of(MODEL)
