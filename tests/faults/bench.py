"""A finished tiny project, copies of it in which one stage is still to be done, and what ends as it should."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from couplet.phantom.drawing import draw_phantom
from tests.support.projects import COUPLET, TINY, Project, new_project

HOOK = Path(__file__).parent / "hook"
STAGES = ("prepare", "split_mis", "train_fold@0", "evaluate_fold@0", "ensemble_predict", "report")
RESULTS = ("data/prepared", "data/splits", "data/models", "data/predictions", "metrics", "plots")
# A checkpoint after every batch, so that "while a checkpoint is written" is a moment one can hit.
SETTINGS = TINY | {"split.folds": [0, 1], "schedule.epochs": 2, "train.checkpoint_minutes": 1e-6}
PATIENCE = 120.0


def program(stage: str) -> str:
    """Name of the stage's launcher."""
    return stage.split("@")[0]


def moment(stage: str, operation: str) -> str:
    """What a stage is at when it does this file operation."""
    kind, path = operation.split(" ", 1)
    if path.startswith(".scratch/prepare"):
        return "shard write"
    if path.startswith(".scratch/train_fold"):
        return "checkpoint write"
    if kind == "read":
        return "decode" if path.startswith("data/raw/phantom/") and path.endswith(".jpg") else "reading"
    return "writing outputs"


class Missed(Exception):
    """The run ended undisturbed: DVC does not do everything in the same order each time, or a disk was too large."""


@dataclass
class Bench:
    """The finished project, and the file operations of each stage and of DVC around it, in order."""

    folder: Path
    finished: Project
    results: dict[str, bytes]
    lock: Any
    operations: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    copies: int = 0

    @classmethod
    def build(cls, folder: Path) -> Bench:
        """Draw the data, run the graph undisturbed."""
        draw_phantom(folder / "raw" / "phantom", n_patients=30, size=48)
        project = new_project(folder / "finished", "phantom", folder / "raw", SETTINGS)
        shutil.copytree(folder / "raw", project.folder / "data/raw")
        # DVC's notes on each checkout would else stay on this machine.
        project.variables = {"DVC_SITE_CACHE_DIR": str(folder / "site")}
        log = folder / "log"
        hook(project, program=None, do="record", log=str(log))
        project.run("dvc", "repro")
        unhook(project)
        project.commit("results")
        operations = {stage: read_log(log, f"{program(stage)}.{stage.partition('@')[2]}") for stage in STAGES}
        read_log(log, "dvc.repro")
        return cls(folder, project, results_of(project), project.lock(), operations)

    def copy(self, undone: str | None = None) -> Project:
        """A copy of the finished project in which `undone` is to be run again, and nothing of it can help."""
        self.copies += 1
        folder = self.folder / f"copy{self.copies}"
        subprocess.run(["cp", "-a", str(self.finished.folder), str(folder)], check=True)
        project = Project(folder, dict(self.finished.variables))
        if undone:
            undo(project, undone)
        return project

    def operations_of(self, who: str, stage: str) -> list[str]:
        """File operations of a stage, or of DVC (`who` is "dvc") when only this stage is to be run, in order."""
        name = who if who != "dvc" else f"dvc {stage}"
        if name not in self.operations:
            project, log = self.copy(stage), self.folder / "log"
            hook(project, program=who, do="record", log=str(log))
            start = time.monotonic()
            project.run("dvc", "repro")
            self.seconds[stage] = time.monotonic() - start
            self.operations[name] = read_log(log, f"{who}.repro")
            self.drop(project)
        return self.operations[name]

    def duration(self, stage: str) -> float:
        """Seconds of `dvc repro` when only this stage is to be run."""
        self.operations_of("dvc", stage)
        return self.seconds[stage]

    def drop(self, project: Project) -> None:
        """Remove a copy."""
        shutil.rmtree(project.folder, ignore_errors=True)

    def differences(self, project: Project) -> list[str]:
        """What is not as in the undisturbed run: files, the lock, what git sees."""
        found = results_of(project)
        wrong = [
            name for name in sorted(found.keys() | self.results) if found.get(name) != self.results.get(name)
        ]
        if not wrong and project.lock() != self.lock:
            wrong.append("dvc.lock")
        status = project.run("git", "status", "--porcelain").stdout.split("\n")
        return wrong + [line for line in status if line and not line.endswith(("dvc.lock", *wrong))]


def read_log(log: Path, name: str) -> list[str]:
    """What the hook recorded of one program."""
    file = log.with_name(f"{log.name}.{name}")
    operations = file.read_text().splitlines()
    file.unlink()
    return operations


def results_of(project: Project) -> dict[str, bytes]:
    """Bytes of all results; without the hidden .tmp files, which git and DVC do not see."""
    return {
        name: content
        for name, content in project.bytes_of(*RESULTS).items()
        if not (Path(name).name.startswith(".") and name.endswith(".tmp"))
    }


def undo(project: Project, stage: str) -> None:
    """Make a stage one that was never run."""
    lock = project.lock()
    for out in lock["stages"].pop(stage)["outs"]:
        path = project.folder / out["path"]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (project.folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    project.run(
        "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "undone", "dvc.lock"
    )
    shutil.rmtree(project.folder / ".dvc/cache/runs", ignore_errors=True)
    shutil.rmtree(project.folder / ".scratch" / program(stage), ignore_errors=True)


# --- disturbing a run -------------------------------------------------------------------------------------


def hook(project: Project, **fault: Any) -> None:
    """Load hook/sitecustomize.py into the commands of this project."""
    fault["project"] = str(project.folder)
    project.variables |= {"PYTHONPATH": str(HOOK), "FAULT": json.dumps(fault)}


def unhook(project: Project) -> None:
    """The fault is over."""
    for name in ("PYTHONPATH", "FAULT"):
        project.variables.pop(name, None)


def start(project: Project, limit: int | None = None) -> subprocess.Popen[bytes]:
    """Start `dvc repro` in a process group of its own, its output in <project>.out; `limit`: bytes per file."""

    def starve() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with output(project).open("wb") as out:
        return subprocess.Popen(
            ["dvc", "repro"],
            cwd=project.folder,
            env=project.environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=starve if limit else None,
        )


def output(project: Project) -> Path:
    """What the disturbed run printed."""
    return project.folder.with_suffix(".out")


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until `ready`; it is an error if the run ends before."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Missed
        time.sleep(0.001)


At = tuple[str, int]  # an operation, and how many of the same name come before it


def at_index(operations: list[str], index: int) -> At:
    """The `index`-th operation, as the hook knows it again."""
    return operations[index], operations[:index].count(operations[index])


def reach(project: Project, who: str, at: At, do: str = "stop") -> tuple[subprocess.Popen[bytes], int]:
    """Start a run and wait for an operation of `who`; DVC's process, and who's number."""
    marker = project.folder.with_suffix(".marker")
    marker.unlink(missing_ok=True)
    hook(project, program=who, do=do, at=at, marker=str(marker))
    dvc = start(project)
    wait_for(lambda: marker.exists() and marker.read_text().endswith("."), dvc)
    unhook(project)
    return dvc, int(marker.read_text()[:-1])


def kill(process: subprocess.Popen[bytes], group: bool) -> None:
    """Kill -9 DVC, alone or with everything it started."""
    if group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_gone(number: int) -> None:
    """Wait for the end of a process that is not our child."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("an orphaned stage never ended")


def damage(path: Path, draw: random.Random) -> str:
    """Flip a byte, cut or empty a file in place, as a program with a bug would; say which."""
    content = bytearray(path.read_bytes())
    how = draw.choice(["flip", "flip", "cut", "empty"])
    if how == "flip":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    else:
        content = content[: draw.randrange(1, len(content)) if how == "cut" else 0]
    with path.open("r+b") as file:  # the same inode: a hard link elsewhere sees it too
        file.write(content)
        file.truncate()
    return how


def couplet(project: Project, *arguments: str) -> None:
    """A command of `couplet`."""
    project.run(*COUPLET, *arguments)
