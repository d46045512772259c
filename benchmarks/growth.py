"""growth: what one image more costs each stage, in seconds and memory, from 1,000 to 16,000 phantom images."""

from __future__ import annotations

import csv
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import Claim, Section, Size, Table, at_most, run_command
from benchmarks.pipeline import Rows, StageRun, draw, fresh_checkout, large_phantom, read_log, stopwatch
from tests.support.projects import TINY, Project

COPIES = {"full": (1, 4, 16), "tiny": (1, 2)}
COHORT = {"full": {"n_patients": 400}, "tiny": {"n_patients": 16, "size": 48}}  # about 2.5 images of each
ONE_EPOCH: dict[str, Any] = {"schedule.epochs": 1, "schedule.warmup_epochs": 0}
CHANGES = {"full": large_phantom() | ONE_EPOCH, "tiny": TINY | ONE_EPOCH | {"split.folds": [0, 1]}}
STAGES = {
    "full": (["prepare"], ["split_mis"], ["train_fold", "0"], ["evaluate_fold", "0"]),
    "tiny": (["prepare"], ["split_mis"], ["train_fold", "0"]),
}
ROUNDS = {"full": 3, "tiny": 1}
NEW_PATIENTS = 1_000_000  # what each copy adds to the patients' numbers
WITHIN = 1.15

NOTES = [
    "The images of the smallest set are drawn; larger sets hold them again as those of other patients (hard links, so "
    "md5s repeat; no stage looks for that). The launchers run one by one: fold 0, one epoch, else the "
    "preset phantom_large. Figures are medians over the rounds, of work the least.",
    "Work leaves out the interpreter and all imports. `of one image more` is the difference between the work on two "
    "sizes by that between their numbers of images: what a run costs once, like building the network, is not in it.",
    "Labels: the bytes of manifest.csv and of folds.csv, and 8 for each image and label.",
    "Peak memory is the whole resident set; own memory leaves out the pages of files (libraries, mapped data): its "
    "largest value among looks every 10 ms.",
]


@dataclass(frozen=True)
class Sized:
    """A project with some number of images, and the runs of its stages."""

    project: Project
    n_images: int

    def run(self, stages: tuple[list[str], ...]) -> None:
        watch = stopwatch(self.project.folder.parent)
        for name, *fold in stages:
            fresh = self.project.environment | {"COUPLET_FRESH": "1"}
            run_command([*watch, f"stages/{name}.py", *fold], self.project.folder, fresh)

    def runs(self, stage: str) -> list[StageRun]:
        return [run for run in read_log(self.project.folder.parent) if run.stage == stage]

    def of(self, stage: str, what: str) -> float:
        """The median of the rounds; of work the least, because other load only adds to it."""
        values = [getattr(run, what) for run in self.runs(stage)]
        return min(values) if what == "work" else median(values)

    @property
    def labels_mb(self) -> float:
        data = self.project.folder / "data"
        tables = sum((data / path).stat().st_size for path in ("prepared/manifest.csv", "splits/folds.csv"))
        cells = self.n_images * len(self.project.json("data/prepared/labels.json")["labels"])
        return (tables + 8 * cells) / 2**20


def run(size: Size) -> Section:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "drawn", COHORT[size])
        sets = [larger(folder, copies, CHANGES[size]) for copies in COPIES[size]]
        for _ in range(ROUNDS[size]):
            for one in sets:
                one.run(STAGES[size])
        tables, claims = [], []
        for stage, *_ in STAGES[size]:
            tables.append(stage_table(stage, sets))
            claims += stage_claims(stage, sets)
    return Section("growth", tables, claims, NOTES)


def stage_table(stage: str, sets: list[Sized]) -> Table:
    rows: Rows = []
    more: list[str | float] = ["", *per_image_more(stage, sets)]
    for one, extra in zip(sets, more, strict=True):
        work = one.of(stage, "work")
        rows.append([one.n_images, one.of(stage, "seconds"), work, 1000 * work / one.n_images, extra])
        rows[-1] += [one.of(stage, "peak_mb"), one.of(stage, "own_mb"), one.labels_mb]
    columns = ["images", "seconds", "work", "work/image, ms", "of one image more, ms"]
    return Table(stage, [*columns, "peak MB", "own MB", "labels MB"], rows)


def per_image_more(stage: str, sets: list[Sized]) -> list[float]:
    """Milliseconds of work that one image more costs, between each two neighbouring sizes."""
    pairs = pairwise((one.of(stage, "work"), one.n_images) for one in sets)
    return [1000 * (work - less) / (n - fewer) for (less, fewer), (work, n) in pairs]


def stage_claims(stage: str, sets: list[Sized]) -> list[Claim]:
    small, large = sets[0], sets[-1]
    more = per_image_more(stage, sets)
    allowed = WITHIN * small.of(stage, "peak_mb") + large.labels_mb
    sizes = f"{large.n_images:,} images against {small.n_images:,}"
    return [
        at_most(f"growth, {stage}: seconds of one image more, {sizes}", more[-1] / more[0], WITHIN, "x"),
        at_most(f"growth, {stage}: peak memory, {sizes}", large.of(stage, "peak_mb"), allowed, " MB"),
    ]


# --- data sets of any size --------------------------------------------------------------------------------------


def larger(folder: Path, copies: int, changes: dict[str, Any]) -> Sized:
    """A checkout with the drawn images `copies` times, each time those of new patients."""
    place = folder / f"{copies}"
    raw = place / "raw/phantom"
    raw.mkdir(parents=True)
    n_images = copy_data(folder / "drawn", raw, copies)
    return Sized(fresh_checkout(place, changes), n_images)


def copy_data(drawn: Path, raw: Path, copies: int) -> int:
    """Fill `raw` with the data in `drawn`, `copies` times; how many images that are."""
    for part in ("train2", "test2"):
        (raw / part).mkdir()
        for file in (drawn / part).iterdir():
            for copy in range(copies):
                (raw / part / renamed(file.name, copy)).hardlink_to(file)
    tables = ("train2.csv", "test2.csv", "sample_submission_2.csv")
    train, test, _ = (copy_table(drawn / name, raw / name, copies) for name in tables)
    return train + test


def copy_table(source: Path, target: Path, copies: int) -> int:
    """Write a table with its rows once per copy; how many rows that are."""
    with source.open(newline="") as file:
        header, *rows = csv.reader(file)
    with target.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for copy in range(copies):
            for image, *rest in rows:
                if "Patient_ID" in header:
                    rest[0] = str(int(rest[0]) + copy * NEW_PATIENTS)
                writer.writerow([renamed(image, copy), *rest])
    return copies * len(rows)


def renamed(image: str, copy: int) -> str:
    """
    >>> renamed("00000708_001_002.jpg", copy=3)
    '03000708_001_002.jpg'
    """
    patient, rest = image.split("_", 1)
    return f"{int(patient) + copy * NEW_PATIENTS:08d}_{rest}"
