"""The label tables of three data sets, made up in their public shapes, and what prepare makes of them but for images.

Kept apart from `combined_1m`: a process that asks for its memory must not import more than prepare does.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.combined import IMAGES_PER_PATIENT, age_sex, patients, write_chexpert, write_nih, write_rows
from benchmarks.harness import cpu_seconds
from couplet.datasets import chexpert, nih, padchest
from couplet.datasets.raw import RawSet
from couplet.datasets.registry import read_dataset
from couplet.project.project import Project
from couplet.results.manifest import SHARD_STRIDE
from couplet.settings.params import Params, load_params
from couplet.settings.presets import params_yaml
from couplet.stages.prepare import write_tables

# PadChest's labels by our names; the others are left out. Those of NIH and CheXpert are LABEL_MAPS'.
PADCHEST = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Edema": "pulmonary edema",
    "Pleural Effusion": "pleural effusion",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Infiltration": "infiltrates",
    "Mass": "mass",
    "Nodule": "nodule",
    "Emphysema": "emphysema",
    "Fibrosis": "pulmonary fibrosis",
    "Pleural_Thickening": "pleural thickening",
    "Fracture": "fracture",
    "Lung Lesion": ["mass", "nodule", "granuloma"],
    "Aortic Elongation": "aortic elongation",
    "Scoliosis": "scoliosis",
    "COPD Signs": "COPD signs",
}
MEMBERS: dict[str, dict[str, Any]] = {
    "nih": {},
    "chexpert": {"unmentioned": "zeros"},
    "padchest": {"label_map": PADCHEST},
}
READ, WRITTEN = "prepare's tables: read", "prepare's tables: read and written"


def write_raw_tables(rows: str, settings: str) -> None:
    """nih/, chexpert/ and padchest/ with a third of the rows each, and params.yaml of these settings (JSON)."""
    random, n = np.random.default_rng(0), int(rows)
    share = n // 3
    names = np.array(nih.FINDINGS)
    found = [names[row] for row in findings(n - 2 * share, len(names), random)]
    write_nih(Path(), ["|".join(row) if len(row) else nih.NO_FINDING for row in found])

    positive = findings(share, len(chexpert.LABELS), random)
    cells = np.where(positive, "1.0", np.where(random.random(positive.shape) < 0.5, "0.0", ""))
    write_chexpert(Path(), np.where(random.random(positive.shape) < 0.05, "-1.0", cells))

    names = np.array(list(padchest.FINDINGS))
    found = [names[row].tolist() for row in findings(share, len(names), random)]
    lines = (
        [
            *(
                f"{i}.png",
                i % 50,
                f"s{patient}",
                patient,
                found[i] or [padchest.NORMAL],
                "PA" if i % 2 else "L",
            ),
            *(age_sex(patient)[1], 2010 - age_sex(patient)[0], 20100101),
        ]
        for i, patient in patients(share)
    )
    header = [*padchest.COLUMNS, "Projection", "PatientSex_DICOM", "PatientBirth", "StudyDate_DICOM"]
    write_rows(Path("padchest", padchest.NAME), header, lines)
    Project().params.write_text(params_yaml(Params.model_validate(json.loads(settings))))


def findings(n: int, n_labels: int, random: np.random.Generator) -> np.ndarray:
    """(N, L) bool: which images have which finding; the images of a patient are alike."""
    from scipy.special import expit, logit  # late: prepare imports less than that

    shares = np.geomspace(0.25, 0.02, n_labels)
    patient = random.normal(size=(n // IMAGES_PER_PATIENT + 1, n_labels))
    own = patient[np.arange(n) // IMAGES_PER_PATIENT]
    return np.asarray(random.random(own.shape) < expit(logit(shares) + own))


def prepare_tables() -> None:
    """What prepare does but for the images; print what each step took as JSON."""
    steps: dict[str, tuple[float, float, float]] = {}
    project, start, used = Project(), time.perf_counter(), cpu_seconds()

    @contextmanager
    def step(name: str) -> Iterator[None]:
        yield
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        steps[name] = time.perf_counter() - start, cpu_seconds() - used, peak

    params = load_params(project.params)
    with step(READ):
        members = params.data.source_args
        dataset = read_dataset("combined", Path(), members, check_files=False)
        table = dataset.known(params.data.uncertain, params.data.unmentioned)
        table = table.sort_values("image_id", ignore_index=True)
        dataset = replace(dataset, table=table)
    with step(WRITTEN):
        number = np.arange(len(table))
        table = table.assign(width=1024, height=1024, shard=number // SHARD_STRIDE, row=number % SHARD_STRIDE)
        table = table.assign(picture=[f"{i:016x}" for i in number], reason="")
        raw = RawSet(params.data.source, Path(), dataset, [], {})
        write_tables(project.prepared, table, table["reason"] == "", raw, params)
    print(json.dumps(steps))
