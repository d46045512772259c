"""growth_1m: a million images in the tables: split_mis, ensemble_predict and report, beside a hundred thousand.

A study, run when it is named: predictions and truth are synthetic (`synthetic_run`), nothing is trained.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import CommandRun, Section, Size, Table, at_most
from benchmarks.metrics import PREVALENCES
from benchmarks.synthetic_run import Scale
from benchmarks.trust import in_child, run_stage

SCALES: dict[Size, list[Scale]] = {
    "full": [
        Scale(90_000, 10_000, 27_000, 3_000, rounds=1),
        Scale(900_000, 100_000, 270_000, 30_000, rounds=1),
    ],
    "tiny": [Scale(500, 200, 150, 60, rounds=1), Scale(900, 300, 250, 80, rounds=1)],
}
# split_mis comes last: it writes other folds than those that the predictions were made up for.
STAGES = ("ensemble_predict", "report", "split_mis")
SPLIT_MEGABYTES = 1_200  # of a million rows
MORE_TO_LOAD = 1.1  # the page of the larger run, of that of the smaller

NOTES = [
    f"{len(PREVALENCES)} labels; 3.3 images per patient, a tenth of the patients in the test part; 2 % unknown cells. "
    "Each stage is a process of its own, imports and files included; one run each.",
    "Pictures are not read, but for the few that the page shows.",
]


class Sized(NamedTuple):
    """A run of some size: what each stage took, and MB of the report with its pictures, and of the manifest."""

    scale: Scale
    stages: dict[str, CommandRun]
    page_mb: float
    manifest_mb: float


def run(size: Size) -> Section:
    sets = [measured(scale) for scale in SCALES[size]]
    rows: list[list[str | float | int]] = [
        [stage, one.scale.oof + one.scale.test, took.wall, took.cpu, took.peak_mb]
        for stage in STAGES
        for one in sets
        for took in [one.stages[stage]]
    ]
    pages: list[list[str | float | int]] = [
        [s.scale.oof + s.scale.test, s.manifest_mb, s.page_mb] for s in sets
    ]
    tables = [
        Table("Stages", ["stage", "images", "seconds", "CPU s", "peak MB"], rows),
        Table("Files", ["images", "manifest.csv, MB", "report with pictures, MB"], pages),
    ]
    small, large = sets[0], sets[-1]
    images = f"{large.scale.oof + large.scale.test:,} images"
    split = large.stages["split_mis"].peak_mb
    claims = [
        at_most(f"growth_1m, split_mis of {images}: peak memory", split, SPLIT_MEGABYTES, " MB"),
        at_most(
            f"growth_1m, the report of {images}, of that of a tenth",
            large.page_mb / small.page_mb,
            MORE_TO_LOAD,
            "x",
        ),
    ]
    return Section("A million images", tables, claims, NOTES)


def measured(scale: Scale) -> Sized:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_child("synthetic_run", "write_run", folder, json.dumps(asdict(scale)))
        stages = {stage: run_stage(stage, folder) for stage in STAGES}
        manifest_mb = (folder / "data/prepared/manifest.csv").stat().st_size / 2**20
        return Sized(scale, stages, page_mb(folder), manifest_mb)


def page_mb(folder: Path) -> float:
    """MB of a project's report with its pictures and tables."""
    return sum(path.stat().st_size for path in (folder / "plots").rglob("*") if path.is_file()) / 2**20
