"""Splitting into three folds: iterative-stratification and scikit-learn's StratifiedGroupKFold against ours.

Every contender gets the same labels and patients and returns the fold of each row; what it has to do in between is
timed, in CPU seconds of one core. Each round takes another seed; a deviation is the median over the seeds.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np
import pandas as pd
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.harness import (
    REAL_DATA,
    Section,
    Size,
    Table,
    at_least,
    at_most,
    interleave,
    not_measured,
    ratio,
)
from couplet.datasets import nih
from couplet.settings.sources.nih import Settings
from couplet.splits.mis import stratified_group_folds
from couplet.splits.quality import (
    label_distribution_deviation,
    label_pair_distribution_deviation,
    patients_in_two_folds,
)

FOLDS = 3
NIH = REAL_DATA / "nih_cxr14_labels"
SAMPLE_ROWS = {"full": 10_000, "tiny": 500}
COCO_ROWS = {"full": 82_081, "tiny": 1_000}  # COCO train2014 has 82,081 images with labels


@dataclass(frozen=True)
class Cohort:
    """Rows to split: (N, L) labels of 0 and 1, and the (N,) patient of each."""

    labels: np.ndarray
    patients: np.ndarray

    def __str__(self) -> str:
        return "{:,} x {}".format(*self.labels.shape)


# --- contenders ---------------------------------------------------------------------------------------------


def iterative_on_images(cohort: Cohort, seed: int) -> np.ndarray:
    splitter = MultilabelStratifiedKFold(n_splits=FOLDS, shuffle=True, random_state=seed)
    return fold_of_rows(splitter.split(cohort.labels, cohort.labels), len(cohort.labels))


def iterative_on_patients(cohort: Cohort, seed: int) -> np.ndarray:
    """A patient has a label if any of their images has it."""
    patient, names = pd.factorize(cohort.patients)
    any_positive = pd.DataFrame(cohort.labels).groupby(patient).max().to_numpy()
    return iterative_on_images(Cohort(any_positive, names), seed)[patient]


def on_label_sets(cohort: Cohort, seed: int) -> np.ndarray:
    label_set = np.unique(np.packbits(cohort.labels == 1, axis=1), axis=0, return_inverse=True)[1]
    splitter = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        return fold_of_rows(splitter.split(label_set, label_set, cohort.patients), len(label_set))


def ours(cohort: Cohort, seed: int) -> np.ndarray:
    return stratified_group_folds(cohort.labels, cohort.patients, FOLDS, seed)


def fold_of_rows(splits: Iterable[tuple[np.ndarray, np.ndarray]], n_rows: int) -> np.ndarray:
    folds = np.empty(n_rows, dtype=np.int64)
    for fold, (_, rows) in enumerate(splits):
        folds[rows] = fold
    return folds


IMAGES, PATIENTS = "iterative-stratification on images", "iterative-stratification on patients"
SETS, OURS = "StratifiedGroupKFold on label sets", "couplet"
SPLITTERS = {IMAGES: iterative_on_images, PATIENTS: iterative_on_patients, SETS: on_label_sets, OURS: ours}


# --- data ---------------------------------------------------------------------------------------------------


def nih_table() -> Cohort:
    dataset = nih.read(NIH, Settings(no_finding=False), check_files=False)
    return Cohort(dataset.table[dataset.labels].to_numpy(float), dataset.table["patient_id"].to_numpy())


def nih_like(n_patients: int) -> Cohort:
    """Patients with 1 to 7 images that share half of their labels: for the tests, which need no real table."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(n_patients), rng.integers(1, 8, n_patients))
    lasting, passing = rng.random((n_patients, 14))[patient], rng.random((len(patient), 14))
    labels = np.where(rng.random(passing.shape) < 0.5, lasting, passing) < np.geomspace(0.18, 0.005, 14)
    return Cohort(labels.astype(float), patient.astype(str).astype(object))


def coco_like(n_rows: int) -> Cohort:
    """A person in half of the images, and 79 labels in 0.16 to 11 %, seven times as often in their own scene."""
    rng = np.random.default_rng(0)
    prevalence = np.append(0.54, np.geomspace(0.11, 0.0016, 79))
    scene = rng.integers(0, 8, (2 * n_rows, 1))
    lift = np.where(scene == np.arange(80) % 8, 4, 4 / 7)
    lift[:, 0] = 1
    labels = rng.random(lift.shape) < prevalence * lift
    labels = labels[labels.any(axis=1)][:n_rows]  # our coco adapter leaves images without labels out
    return Cohort(labels.astype(float), np.arange(n_rows).astype(str).astype(object))


def sample(cohort: Cohort, n_rows: int) -> Cohort:
    """Whole patients drawn at random, as many as fit into so many rows."""
    patient, names = pd.factorize(cohort.patients)
    order = np.random.default_rng(0).permutation(len(names))
    rows_so_far = np.cumsum(np.bincount(patient)[order])
    rows = np.isin(patient, order[rows_so_far <= n_rows])
    return Cohort(cohort.labels[rows], cohort.patients[rows])


# --- comparing ----------------------------------------------------------------------------------------------


def run(size: Size) -> Section:
    rounds = 5 if size == "full" else 1
    section = Section(f"Splitting into {FOLDS} folds")
    if size == "tiny" or NIH.is_dir():
        table = nih_like(500) if size == "tiny" else nih_table()
        compare_by_patient(section, table, SAMPLE_ROWS[size], rounds)
    else:
        why = "the label table of NIH ChestX-ray14 is not here"
        section.claims.append(not_measured("splitting 112,120 x 14 by patient", "at least 2x", why))
    coco = coco_like(COCO_ROWS[size])
    origin = "synthetic, prevalences like MS-COCO's; no patients, so every image is its own group"
    section.tables.append(as_table(coco, origin, compare(coco, (IMAGES, OURS), rounds)))
    section.notes.append(
        "StratifiedGroupKFold fills a table of groups x label sets. It is left out where that is too large: a run "
        "on nine copies took 41 s and 3.9 GB; at 82k x 80 the table alone has 17 GB (82,081 x 25,912)."
    )
    return section


def compare_by_patient(section: Section, table: Cohort, sample_rows: int, rounds: int) -> None:
    """A sample of the table, and the table."""
    part = sample(table, sample_rows)
    few, whole = compare(part, SPLITTERS, rounds), compare(table, SPLITTERS, rounds)
    section.tables.append(as_table(part, "patients drawn from the table below", few))
    section.tables.append(as_table(table, "the table", whole))

    what, images, own = f"splitting {table} by patient", whole[IMAGES], whole[OURS]
    label, pair = own.label_deviation / images.label_deviation, own.pair_deviation / images.pair_deviation
    section.claims.append(at_least(f"{what}, against {IMAGES}", images.of_couplets, 2))
    section.claims.append(at_most(f"{what}: label deviation, of its", label, 1.05, "x"))
    section.claims.append(at_most(f"{what}: pair deviation, of its", pair, 1, "x"))
    section.claims.append(at_most(f"{what}: patients in two folds", own.leak, 0))


class Outcome(NamedTuple):
    seconds: float
    of_couplets: float
    label_deviation: float  # median over the rounds, as the next
    pair_deviation: float
    leak: int  # the most patients in two folds of any round


def compare(cohort: Cohort, names: Iterable[str], rounds: int) -> dict[str, Outcome]:
    folds: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def split(name: str) -> None:
        folds[name].append(SPLITTERS[name](cohort, len(folds[name])))

    samples = interleave({name: partial(split, name) for name in folds}, rounds)
    return {
        name: Outcome(
            samples[name].median("cpu"),
            ratio(samples[name], samples[OURS], "cpu"),
            median(label_distribution_deviation(cohort.labels, fold) for fold in dealt),
            median(label_pair_distribution_deviation(cohort.labels, fold) for fold in dealt),
            max(patients_in_two_folds(cohort.patients, fold) for fold in dealt),
        )
        for name, dealt in folds.items()
    }


def as_table(cohort: Cohort, origin: str, outcomes: dict[str, Outcome]) -> Table:
    columns = ["", "CPU s", "of couplet's", "label deviation", "pair deviation", "patients in two folds"]
    return Table(f"{cohort}: {origin}", columns, [[name, *outcome] for name, outcome in outcomes.items()])
