"""A million rows into three folds, against the opponents of `splitting`. A study, run when it is named."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.harness import Section, Size, at_most, interleave, not_measured, ratio
from benchmarks.splitting import (
    FOLDS,
    IMAGES,
    NIH,
    OURS,
    PATIENTS,
    Cohort,
    as_table,
    compare,
    nih_like,
    nih_table,
    ours,
)


def run(size: Size) -> Section:
    rounds = 5 if size == "full" else 1
    section = Section(f"Splitting a million rows into {FOLDS} folds")
    if size == "full" and not NIH.is_dir():
        why = "the label table of NIH ChestX-ray14 is not here"
        section.claims.append(not_measured("splitting 1M rows", "at most 10x", why))
        return section
    table = nih_like(500) if size == "tiny" else nih_table()
    copies, uneven_copies = tiled(table, 9), tiled(table, 10, share=0.9)
    many = compare(uneven_copies, (IMAGES, PATIENTS, OURS), rounds)
    section.tables.append(as_table(uneven_copies, f"ten copies of {table}, less one row in ten", many))
    samples = interleave({str(c): partial(ours, c, 0) for c in (table, copies, uneven_copies)}, rounds)
    for cohort in (copies, uneven_copies):
        times = ratio(samples[str(cohort)], samples[str(table)], "cpu")
        section.claims.append(at_most(f"splitting {cohort}, of the time of {table}", times, 10, "x"))
    section.notes.append(
        f"{copies} is nine copies of the table with new patients: easy, as three like patients go to each fold. "
        f"Hence {uneven_copies} too: ten copies less one row in ten, drawn at random, so no longer alike."
    )
    return section


def tiled(cohort: Cohort, copies: int, share: float = 1) -> Cohort:
    """Copies of all rows, or of a random share of them, each copy with new patients."""
    patients = np.concatenate([[f"{name}-{copy}" for name in cohort.patients] for copy in range(copies)])
    rows = np.random.default_rng(0).random(len(patients)) < share
    return Cohort(np.tile(cohort.labels, (copies, 1))[rows], patients[rows].astype(object))
