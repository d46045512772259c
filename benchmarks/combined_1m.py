"""combined_1m: a million rows of three data sets as one, from their label tables to the report, beside a tenth of it.

The tables are made up in the shapes of NIH ChestX-ray14, CheXpert and PadChest, each with labels of its own. prepare's
tables, split_mis, ensemble_predict and report are the pipeline's own code; what the models predict is synthetic
(`synthetic_run`), and there are no images. A study, run when it is named.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logit

from benchmarks.combined import IMAGES_PER_PATIENT
from benchmarks.combined_tables import MEMBERS
from benchmarks.growth_1m import MORE_TO_LOAD, SPLIT_MEGABYTES, page_mb
from benchmarks.harness import Section, Size, Table, at_most
from benchmarks.synthetic_run import STORE_SIZE, write_predicted
from benchmarks.trust import in_child, run_stage
from couplet.project.project import Project
from couplet.results.folds import read_folds
from couplet.results.manifest import read_manifest
from couplet.settings.params import load_params

ROWS = {"full": (100_000, 1_000_000), "tiny": (3_000, 6_000)}
SETTINGS: dict[str, Any] = {
    "data": {"source": "combined", "source_args": {"members": MEMBERS}},
    "image": {"size": STORE_SIZE, "store_size": STORE_SIZE, "channels": 1, "codec": "raw"},
    "model": {"pretrained": False},
    "report": {"groups": ["source"]},
}
# Of positives from negatives, in standard deviations: an AUC of 0.86, less by the models' own errors.
SEPARATION = 1.5

NOTES = [
    f"A third of the rows each in the shapes of NIH ChestX-ray14, CheXpert and PadChest, {IMAGES_PER_PATIENT} images "
    "per patient; findings of 25 to 2 % of the images, more alike within a patient; one CheXpert cell in twenty is "
    "uncertain. What a set does not know is unknown.",
    "Each step is a process of its own, imports and files included, but for the two of prepare's tables: they are one "
    "process, imports left out of its times, and the second holds the first. There are no images: what prepare does "
    "with them is left out. One run each.",
    "The report has the subgroups sex, age, view and source. Its pictures are noise of 32 px.",
]


class Sized(NamedTuple):
    """What each step took on so many rows: seconds, CPU seconds, peak MB; and the size of what was written."""

    rows: int
    steps: dict[str, tuple[float, float, float]]
    labels: int
    unknown: float  # share of the cells
    manifest_mb: float
    page_mb: float


def run(size: Size) -> Section:
    sets = [measured(rows) for rows in ROWS[size]]
    small, large = sets[0], sets[-1]
    steps: list[list[str | float | int]] = [
        [step, one.rows, *one.steps[step]] for step in large.steps for one in sets
    ]
    files: list[list[str | float | int]] = [
        [s.rows, s.labels, s.unknown, s.manifest_mb, s.page_mb] for s in sets
    ]
    tables = [
        Table("Steps", ["step", "rows", "seconds", "CPU s", "peak MB"], steps),
        Table(
            "Files",
            ["rows", "labels", "share of unknown cells", "manifest.csv, MB", "report with pictures, MB"],
            files,
        ),
    ]
    what = f"combined_1m, {large.rows:,} rows of three sets"
    claims = [
        at_most(f"{what}, split_mis: peak memory", large.steps["split_mis"][2], SPLIT_MEGABYTES, " MB"),
        at_most(f"{what}, the report, of that of a tenth", large.page_mb / small.page_mb, MORE_TO_LOAD, "x"),
    ]
    return Section("A million rows of three data sets as one", tables, claims, NOTES)


def measured(rows: int) -> Sized:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In processes of their own: the kernel counts this one's memory as that of each process that it starts.
        in_child("combined_tables", "write_raw_tables", folder, str(rows), json.dumps(SETTINGS))
        steps = json.loads(in_child("combined_tables", "prepare_tables", folder).output.splitlines()[-1])
        split = run_stage("split_mis", folder)
        known = json.loads(in_child("combined_1m", "make_up_predictions", folder).output.splitlines()[-1])
        runs = {"split_mis": split} | {
            stage: run_stage(stage, folder) for stage in ("ensemble_predict", "report")
        }
        steps |= {stage: (one.wall, one.cpu, one.peak_mb) for stage, one in runs.items()}
        manifest_mb = (folder / "data/prepared/manifest.csv").stat().st_size / 2**20
        return Sized(rows, steps, known["labels"], known["unknown"], manifest_mb, page_mb(folder))


# --- in processes of their own, in the folder of the project -----------------------------------------------------


def make_up_predictions() -> None:
    """Write what three models would say of the images that split_mis dealt; print labels and unknown cells as JSON."""
    project, random = Project(), np.random.default_rng(1)
    params, manifest = load_params(project.params), read_manifest(project)
    unknown = np.isnan(manifest.truth)
    share = np.nanmean(manifest.truth, axis=0, dtype=float)
    positive = np.where(unknown, random.random(unknown.shape) < share, manifest.truth == 1)
    # Two normal distributions of one width: their log likelihood ratio is linear, and these log odds are calibrated.
    log_odds = (
        logit(share) + SEPARATION**2 * (positive - 0.5) + SEPARATION * random.normal(size=unknown.shape)
    )
    write_predicted(manifest, read_folds(manifest), log_odds, params, random)
    print(json.dumps({"labels": len(manifest.labels), "unknown": unknown.mean()}))
