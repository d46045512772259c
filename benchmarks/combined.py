"""Reading a million rows of three label tables: as one combined data set, against each by itself.

The tables are made up, in the shapes of NIH ChestX-ray14, CheXpert and Grand X-Ray SLAM; there are no images.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.harness import ROOT, CommandRun, Section, Size, Table, at_most, run_command
from couplet.datasets import chexpert, grand_xray_slam, nih

ROWS = {"full": 1_000_000, "tiny": 300}
ROUNDS = {"full": 3, "tiny": 1}
IMAGES_PER_PATIENT = 4
# Each in a process of its own: memory is that of the process.
APART = """
from pathlib import Path
from couplet.datasets.registry import read_dataset
folders = {"nih": "nih", "chexpert": "chexpert", "grand_xray_slam": "slam"}
read = [read_dataset(source, Path(name), check_files=False) for source, name in folders.items()]
print(sum(len(dataset.table) for dataset in read))
"""
COMBINED = """
from pathlib import Path
from couplet.datasets.registry import read_dataset
members = {"nih": {}, "chexpert": {"unmentioned": "zeros"}, "slam": {"source": "grand_xray_slam"}}
print(len(read_dataset("combined", Path("."), {"members": members}, check_files=False).table))
"""
CONTENDERS = {"each by itself, all kept": APART, "combined": COMBINED}


def run(size: Size) -> Section:
    section = Section("Reading the tables of three data sets as one")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_tables(folder, ROWS[size])
        runs: dict[str, list[CommandRun]] = {name: [] for name in CONTENDERS}
        for _ in range(ROUNDS[size]):
            for name, code in CONTENDERS.items():
                variables = {"PYTHONPATH": str(ROOT / "src")}
                runs[name].append(run_command([sys.executable, "-c", code], folder, variables))
    rows = [
        [name, *(median(getattr(one, what) for one in of) for what in ("wall", "cpu", "peak_mb"))]
        for name, of in runs.items()
    ]
    columns = ["", "seconds", "CPU seconds", "peak memory, MB"]
    section.tables.append(Table(f"{ROWS[size]:,} rows, imports with them", columns, rows))
    apart, combined = runs.values()
    times = median(one.cpu / other.cpu for one, other in zip(combined, apart, strict=True))
    section.claims.append(
        at_most("CPU time of reading three sets as one, of each by itself", times, 1.15, "x")
    )
    return section


def write_tables(folder: Path, n: int) -> None:
    """nih/, chexpert/ and slam/ with a third of `n` rows each (NIH's has what is left over)."""
    random = np.random.default_rng(0)
    share = n // 3
    findings = [*nih.FINDINGS, "Effusion|Edema", nih.NO_FINDING]
    write_nih(folder, random.choice(findings, n - 2 * share))
    write_chexpert(folder, random.choice(["1.0", "0.0", "-1.0", ""], (share, len(chexpert.LABELS))))

    zero_one = random.choice(["0", "1"], (share, len(grand_xray_slam.LABELS)))
    rows = (
        [f"{patient:08d}_001_{i % IMAGES_PER_PATIENT + 1:03d}.jpg", patient, 1, "Male", 50, "Frontal", "AP"]
        for i, patient in patients(share)
    )
    header = [*grand_xray_slam.PEOPLE, *grand_xray_slam.LABELS]
    write_rows(folder / "slam/train2.csv", header, ([*row, *zero_one[i]] for i, row in enumerate(rows)))


def write_nih(folder: Path, found: Sequence[str] | np.ndarray) -> None:
    """nih/ with an image for each of these cells of `Finding Labels`."""
    header = [*nih.COLUMNS, "Patient Age", "Patient Gender", "View Position"]
    rows = (
        [f"{i:08d}_000.png", found[i], 0, patient, *age_sex(patient), "PA" if i % 3 else "AP"]
        for i, patient in patients(len(found))
    )
    write_rows(folder / "nih" / nih.TABLES[0], header, rows)


def write_chexpert(folder: Path, cells: np.ndarray) -> None:
    """chexpert/ with an image for each row of these (N, 14) cells of text."""
    header = [*chexpert.PEOPLE, *chexpert.LABELS]
    rows = (
        [
            f"CheXpert-v1.0/train/patient{patient:05d}/study1/view{i}_frontal.jpg",
            *("Female" if patient % 2 else "Male", age_sex(patient)[0], "Frontal"),
            *("AP" if i % 3 else "PA", *cells[i]),
        ]
        for i, patient in patients(len(cells))
    )
    write_rows(folder / "chexpert/train.csv", header, rows)


def patients(n: int) -> Iterator[tuple[int, int]]:
    """Each image's number and its patient's."""
    return ((i, i // IMAGES_PER_PATIENT + 1) for i in range(n))


def age_sex(patient: int) -> tuple[int, str]:
    return 19 + patient % 72, "F" if patient % 2 else "M"


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(chain([header], rows))
