"""A couplet project in a folder of its own, run as its users run it: by commands, in the tests' environment."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.params import change_params

ROOT = Path(__file__).resolve().parents[2]
# What a clone has of this checkout; the working tree's own state, so that tests see uncommitted changes too.
PARTS = (
    "src",
    "stages",
    "presets",
    "dvc.yaml",
    ".dvcignore",
    ".gitignore",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvc/plots",
)


@dataclass
class Project:
    """One checkout. `variables` are added to the environment of its commands."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        python = Path(sys.executable).parent
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("COUPLET_", "GIT_", "DVC_"))
        }
        return kept | {"PATH": f"{python}{os.pathsep}{os.environ['PATH']}"} | self.variables

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command here; with `check`, a failure shows what was printed."""
        result = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if check and result.returncode != 0:
            raise AssertionError(
                f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}\n{result.stderr}"
            )
        return result

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own, its output thrown away."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def json(self, path: str) -> Any:
        return json.loads((self.folder / path).read_text())

    def set_params(self, changes: dict[str, Any]) -> None:
        """Change params.yaml: {"refiner.enabled": False}."""
        change_params(self.folder, changes)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", message)

    def copy_to(self, folder: Path) -> Project:
        """The same project elsewhere, with its cache and its results."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder, dict(self.variables))

    def bytes_of(self, *folders: str) -> dict[str, bytes]:
        """Content of every file below these folders."""
        files = [p for folder in folders for p in sorted((self.folder / folder).rglob("*")) if p.is_file()]
        return {p.relative_to(self.folder).as_posix(): p.read_bytes() for p in files}

    def lock(self) -> Any:
        return yaml.safe_load((self.folder / "dvc.lock").read_text())


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, as text."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def new_project(folder: Path, preset: str, raw: Path, changes: dict[str, Any]) -> Project:
    """A fresh checkout of this working tree on the raw data in `raw`, with `changes` to a preset, committed."""
    for part in PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif source.exists():
            shutil.copy(source, target)
    project = Project(folder, {"COUPLET_DATA_ROOT": str(raw)})
    project.run("git", "init", "-q", "-b", "main")
    project.run(*COUPLET, "preset", preset)
    project.set_params(changes)
    project.run(*COUPLET, "scan")
    project.commit("a tiny project")
    return project


# The package of the project's own src, as its launchers import it.
COUPLET = ("python", "-c", "import sys; sys.path.insert(0, 'src'); from couplet.cli import app; app()")

# What makes a run tiny: a few hundred thousand parameters, 32 pixels, one core.
TINY: dict[str, Any] = {
    "data.source_args": {},
    "image.size": 32,
    "image.store_size": 36,
    "model.backbone_args": {
        "layers": [1, 1, 1, 1],
        "channels": [8, 16, 32, 64],
        "cardinality": 2,
        "base_width": 8,
    },
    "train.batch_size": 8,
    "inference.batch_size": 64,
}


# --- trainers that are killed and go on -----------------------------------------------------------------------

MODEL = "data/models/fold_0"


def untrained(project: Project, folder: Path) -> Project:
    """A copy in which fold 0 is to be trained again, and nothing of the first run can help."""
    copy = project.copy_to(folder)
    copy.variables["COUPLET_SCRATCH"] = str(folder.parent / "scratch")
    shutil.rmtree(copy.folder / ".dvc/cache/runs")  # DVC would take the result from there
    shutil.rmtree(copy.folder / MODEL)
    lock = copy.lock()
    del lock["stages"]["train_fold@0"]
    (copy.folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    return copy


def progress_of(scratch: Path) -> tuple[int, int]:
    """(epoch, batch) of the last checkpoint; (-1, 0) before the first."""
    for index in scratch.glob("train_fold/*/checkpoint.json"):
        try:
            state = json.loads(index.read_text())["progress"]
        except (OSError, ValueError):
            continue
        return state["epoch"], state["batch"]
    return -1, 0


def kill_trainer(project: Project, scratch: Path, progress: tuple[int, int]) -> None:
    """Train fold 0 until a checkpoint is at (epoch, batch) or further, and kill it: it must not have got to its end."""
    kill_trainer_when(project, lambda: progress_of(scratch) >= progress)


def kill_trainer_when(project: Project, condition: Callable[[], bool]) -> None:
    """Train fold 0 until something is so, and kill it: it must not have got to its end."""
    trainer = project.start("python", "stages/train_fold.py", "0")
    wait_for(condition, trainer)
    os.killpg(trainer.pid, signal.SIGKILL)
    trainer.wait()
    assert not (project.folder / MODEL / "config.json").exists()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until something is so while a process that is to be killed then still lives."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
