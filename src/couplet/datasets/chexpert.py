"""CheXpert: train.csv, valid.csv (the test part), train/patient00001/study1/view1_frontal.jpg ...

Also in the four folders in which the release is shipped: `CheXpert-v1.0 batch 1 (validate & csv)` with the tables and
valid/, and the patients of train spread over `CheXpert-v1.0 batch 2 (train 1)` to `CheXpert-v1.0 batch 4 (train 3)`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pandas import DataFrame, Series

from couplet.datasets.base import Dataset, image_table
from couplet.datasets.folder import check_images
from couplet.datasets.tables import Table, read_raw_table
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.sources.chexpert import Settings

PEOPLE = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
# The release's order (Irvin et al., CheXpert, AAAI 2019).
LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
TRAIN, VALID, TEST = "train.csv", "valid.csv", "test_labels.csv"
BATCHES = "CheXpert-v1.0 batch *"


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read both tables: -1 uncertain, blank not mentioned in the report. The labels are the release's 14."""
    batches = sorted(path for path in folder.glob(BATCHES) if path.is_dir())
    # In the folders as shipped the tables are in one of them.
    home = next((path for path in batches if (path / TRAIN).exists()), folder)
    train = read_raw_table(_train_table(home), (*PEOPLE, *LABELS))
    tables = [("train", train)]
    if name := _test_table(home, args):
        # The test labels come without what is known of people.
        test = read_raw_table(home / name, (*(PEOPLE if name == VALID else ["Path"]), *LABELS))
        tables.append(("test", test))
    parts = []
    for part, table in tables:
        table.say_unread((*PEOPLE, *LABELS))
        images = _images(table, part, ("train",) if part == "train" else ("valid", "test"))
        if batches:
            images["path"] = _in_batches(folder, home, images, table)
        if check_files:
            check_images(folder, images.set_index("row")["path"], table.place("Path"))
        parts.append(images)
    return Dataset(labels=list(LABELS), table=pd.concat(parts, ignore_index=True))


def _train_table(home: Path) -> Path:
    deeper = sorted(path.parent.name for path in home.glob(f"[!.]*/{TRAIN}"))
    if deeper and not (home / TRAIN).exists():
        raise UserError(
            f"{home / TRAIN} is not there, but {deeper[0]}/{TRAIN} is: link that folder as {home} instead"
        )
    return home / TRAIN


def _test_table(home: Path, args: Settings) -> str:
    """Name of the test part's table; empty if there is none."""
    if args.test_table != "auto":
        return args.test_table
    there = [name for name in (VALID, TEST) if (home / name).exists()]
    if not there:
        say(
            f"chexpert: {VALID} and {TEST} are not there: the test part is drawn from {TRAIN} (split.test_fraction)"
        )
        return ""
    if len(there) == 2:
        say(
            f"chexpert: {TEST} is not read, {VALID} is the test part: data.source_args.test_table takes the other"
        )
    return there[0]


def _images(table: Table, part: str, homes: tuple[str, ...]) -> DataFrame:
    # Paths start with the release's name, CheXpert-v1.0/ or CheXpert-v1.0-small/, which is the raw folder.
    paths = table.unique("Path").str.replace(r"^CheXpert(?:-v[^/]*)?/", "", regex=True)
    pieces = paths.str.extract(rf"^(?:{'|'.join(homes)})/(patient\d+)/(study\d+)/[^/]+$")
    for row in paths.index[pieces[0].isna()][:1]:
        home = "train" if part == "train" else "test" if table.path.name == TEST else "valid"
        raise UserError(
            f"{table.where(row, 'Path')}: {paths[row]!r} is not {home}/patientN/studyN/view.jpg: "
            f"keep only rows of {home}/ in {table.path.name}"
        )
    position = table.text("AP/PA")
    return image_table(
        table.label_values(LABELS),
        image_id=paths,
        part=part,
        patient_id=pieces[0],
        study_id=pieces[0] + "_" + pieces[1],
        view=position.where(position != "", table.text("Frontal/Lateral")),
        sex=table.text("Sex"),
        age=table.text("Age"),
        path=paths,
    )


def _in_batches(folder: Path, home: Path, images: DataFrame, table: Table) -> Series:
    """The paths of images in the folders as shipped: train/ is spread over them, the rest is beside the tables."""
    batches = [path.name for path in sorted(folder.glob(BATCHES))]
    batch = {
        patient.name: f"{name}/{within}"
        for name in batches
        for within in ("", "train/")
        for patient in (folder / name / within).glob("patient*")
    }
    parts = images["path"].str.partition("/")
    places = images["patient_id"].map(batch).where(parts[0] == "train", f"{home.name}/" + parts[0] + "/")
    lost = images[places.isna()]
    for patient, row in zip(lost["patient_id"][:1], lost["row"][:1], strict=True):
        raise UserError(
            f"{table.where(row, 'Path')}: {patient} is in none of the folders {BATCHES!r} (patients missing: "
            f"{lost['patient_id'].nunique()}): put all four of them there"
        )
    return places + parts[2]
