"""scale_out: fold 0 of the phantom, trained for an epoch by one process and by several, in one piece and in parts.

Which runs end with the same bytes, and how far the others are apart: in their weights, in the probabilities of the
fold's validation images, and in macro-AUC.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load

from benchmarks.growth import ONE_EPOCH
from benchmarks.harness import Claim, Section, Size, Table
from benchmarks.pipeline import draw, fresh_checkout, large_phantom
from tests.support.projects import MODEL, TINY, Project, progress_of, wait_for

TORCHRUN = "torchrun --standalone --nproc-per-node={} --shutdown-timeout=300"
STAGE = ("python", "stages/train_fold.py", "0")
COHORT: dict[Size, dict[str, int]] = {"full": {}, "tiny": {"n_patients": 24, "size": 48}}
CHANGES: dict[Size, dict[str, Any]] = {
    "full": large_phantom() | ONE_EPOCH,
    "tiny": TINY | ONE_EPOCH | {"split.folds": [0, 1], "train.batch_size": 16},
}
# Each part keeps 8 images at least, so four parts want a step of 32.
LARGE_STEP = {"train.batch_size": 32}
STOPPED_AFTER: dict[Size, int] = {"full": 10, "tiny": 1}  # steps
EQUAL = "equal"

NOTES = [
    "Each run is the launcher of train_fold; several processes are torchrun's on one machine (gloo), one thread each. "
    "One epoch of fold 0, else the preset phantom_large; four parts with 32 images a step, all else with 24.",
    "Probabilities are those of the fold's images as evaluate_fold predicts them, from the averaged weights. Files are "
    "those of the model, without the record that names its settings. Differences of weights are relative, in L2 norm.",
    "Another instruction set is native arithmetic: the same settings, other roundings. It is what rounding alone does.",
    "Single runs: that the macro-AUC of runs with other settings differs does not say which are better.",
]


@dataclass(frozen=True)
class Way:
    """A way to train the fold: its settings, processes, and how many go on after a SIGTERM in the midst."""

    name: str
    changes: dict[str, Any]
    processes: int = 1
    then: int | None = None


PARTS_2, PARTS_4 = {"train.parts": 2}, LARGE_STEP | {"train.parts": 4}
WAYS = (
    Way("one process", {}),
    Way("one process again", {}),
    Way("another instruction set", {"train.arithmetic": "native", "train.precision": "float32"}),
    Way("2 parts, 1 process", PARTS_2),
    Way("2 parts, 2 processes", PARTS_2, 2),
    Way("32 images a step, one process", LARGE_STEP),
    Way("4 parts, 1 process", PARTS_4),
    Way("4 parts, 2 processes", PARTS_4, 2),
    Way("4 parts, 4 processes", PARTS_4, 4),
    Way("4 parts, 1 process, stopped, 2 go on", PARTS_4, 1, 2),
    Way("4 parts, 2 processes, stopped, 1 goes on", PARTS_4, 2, 1),
)
# (a run, what it is compared with, whether the bytes are promised to be equal)
PAIRS = (
    ("one process again", "one process", True),
    ("another instruction set", "one process", False),
    ("2 parts, 1 process", "one process", False),
    ("2 parts, 2 processes", "2 parts, 1 process", True),
    ("4 parts, 1 process", "32 images a step, one process", False),
    ("4 parts, 2 processes", "4 parts, 1 process", True),
    ("4 parts, 4 processes", "4 parts, 1 process", True),
    ("4 parts, 1 process, stopped, 2 go on", "4 parts, 1 process", True),
    ("4 parts, 2 processes, stopped, 1 goes on", "4 parts, 1 process", True),
)
TINY_PAIRS = (PAIRS[0], PAIRS[3])


@dataclass(frozen=True)
class Trained:
    """What a run ended with: its files' bytes, its weights as one vector, its predictions and their macro-AUC."""

    files: dict[str, bytes]
    weights: np.ndarray
    probabilities: np.ndarray
    auc: float

    @classmethod
    def of(cls, project: Project) -> Trained:
        files = project.bytes_of(MODEL)
        # The record names the settings, which differ between ways; the weights and the history are what was trained.
        files = {Path(path).name: files[path] for path in files if not path.endswith("config.json")}
        tensors = load(files["predictor.safetensors"])
        weights = np.concatenate([tensors[name].ravel().astype(np.float64) for name in sorted(tensors)])
        table = pd.read_csv(project.folder / "data/predictions/folds/fold_0.csv", index_col="image_id")
        return cls(files, weights, table.to_numpy(), project.json("metrics/fold_0.json")["auc_macro"])

    def row(self, other: Trained) -> list[str | float]:
        """Bytes, weights (relative), probabilities (largest and mean difference), both macro-AUCs."""
        apart = np.abs(self.probabilities - other.probabilities)
        weights = np.linalg.norm(self.weights - other.weights) / np.linalg.norm(other.weights)
        same = EQUAL if self.files == other.files else "other"
        return [same, float(weights), float(apart.max()), float(apart.mean()), self.auc, other.auc]


def run(size: Size) -> Section:
    pairs = PAIRS if size == "full" else TINY_PAIRS
    wanted = {name for one, other, _ in pairs for name in (one, other)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "raw/phantom", COHORT[size])
        project = fresh_checkout(folder, CHANGES[size])
        project.run("python", "stages/prepare.py")
        project.run("python", "stages/split_mis.py")
        project.commit("split")
        ways = [way for way in WAYS if way.name in wanted]
        trained = {way.name: train(project, way, folder / "scratch", STOPPED_AFTER[size]) for way in ways}
    columns = [
        "run",
        "against",
        "files",
        "weights",
        "probabilities, largest",
        "mean",
        "macro-AUC",
        "the other's",
    ]
    rows = [[one, other, *trained[one].row(trained[other])] for one, other, _ in pairs]
    claims = [
        Claim(f"scale_out, {one} against {other}", f"{row[2]} bytes", "equal bytes", row[2] == EQUAL)
        for row, (one, other, promised) in zip(rows, pairs, strict=True)
        if promised
    ]
    return Section(
        "Several processes for one fold", [Table("fold 0, one epoch", columns, rows)], claims, NOTES
    )


def train(project: Project, way: Way, scratch: Path, stop_after: int) -> Trained:
    """Train fold 0 this way from nothing, and predict its images."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(project.folder / MODEL, ignore_errors=True)
    project.run("git", "checkout", "-q", "params.yaml")
    # A checkpoint after each step, so that a run that is stopped has one; it changes no result.
    project.set_params(way.changes | {"train.checkpoint_minutes": 1e-6})
    if way.then is not None:
        trainer = launched(project, way.processes, scratch).start(*STAGE)
        wait_for(lambda: progress_of(scratch) >= (0, stop_after), trainer)
        trainer.send_signal(signal.SIGTERM)
        trainer.wait()
    launched(project, way.then or way.processes, scratch).run(*STAGE)
    project.run("python", "stages/evaluate_fold.py", "0")
    return Trained.of(project)


def launched(project: Project, processes: int, scratch: Path) -> Project:
    """The project, with so many processes for a fold."""
    variables = project.variables | {"COUPLET_SCRATCH": str(scratch)}
    if processes > 1:
        variables["COUPLET_LAUNCH_TRAIN_FOLD"] = TORCHRUN.format(processes)
    return Project(project.folder, variables)
