"""NIH ChestX-ray14: Data_Entry_2017_v2020.csv, images/ (or images_001/images/ ...), official split lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from couplet.datasets.base import Dataset, image_table
from couplet.datasets.folder import check_images, check_paths, walk
from couplet.datasets.tables import Table, find_table, read_raw_table
from couplet.project.errors import UserError
from couplet.settings.schema.messages import suggest
from couplet.settings.sources.nih import Settings

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
COLUMNS = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID")
TRAIN_LIST, TEST_LIST = "train_val_list.txt", "test_list.txt"
# The paper's order (Wang et al., ChestX-ray8, CVPR 2017, and its update to 14 findings).
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NO_FINDING = "No Finding"


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read the label table; the official lists, where they are there, say which images are train and test."""
    table = read_raw_table(find_table(folder, TABLES, COLUMNS), COLUMNS)
    names = table.unique("Image Index")
    patient = table.filled("Patient ID")
    labels = _findings(table, with_no_finding=args.no_finding)
    check_paths(names, table.place("Image Index"))
    homes = _image_folders(folder, names)
    paths = homes.fillna("images/") + names
    if check_files:
        for row in names.index[homes.isna()][:1]:
            raise UserError(
                f"{table.where(row, 'Image Index')}: {names[row]} is in no image folder (missing: "
                f"{homes.isna().sum()} of {len(names)}): complete the download or shorten the table, "
                "docs/datasets.md says how"
            )
        check_images(folder, paths, table.place("Image Index"))
    images = image_table(
        labels,
        image_id=names,
        part=_official_parts(folder, table, names),
        patient_id=patient,
        study_id=patient + "_" + table.filled("Follow-up #"),
        view=table.text("View Position"),
        sex=table.text("Patient Gender"),
        age=table.text("Patient Age"),
        path=paths,
    )
    return Dataset(labels=list(labels.columns), table=images)


def _findings(table: Table, with_no_finding: bool) -> DataFrame:
    cells = table.filled("Finding Labels")
    names = [*FINDINGS, NO_FINDING]
    # 112,120 rows hold under a thousand different combinations: each is read once.
    codes, combinations = pd.factorize(cells)
    marks = np.zeros((len(combinations), len(names)))
    for position, combination in enumerate(combinations):
        found = [name.strip() for name in combination.split("|")]
        row = cells.index[int(np.argmax(codes == position))]
        for name in found:
            if name not in names:
                raise UserError(
                    f"{table.where(row, 'Finding Labels')}: unknown finding {name!r}: {suggest(name, names)}"
                )
        if NO_FINDING in found and len(set(found)) > 1:
            raise UserError(
                f"{table.where(row, 'Finding Labels')}: {combination!r} names findings and 'No Finding': "
                "take one of them out"
            )
        marks[position, [names.index(name) for name in found]] = 1
    labels = DataFrame(marks[codes], index=cells.index, columns=names)
    return labels if with_no_finding else labels.drop(columns=NO_FINDING)


def _image_folders(folder: Path, names: Series) -> Series:
    """Folder of each image, with its slash: images/, or images_001/images/ ...; NaN where it is nowhere.

    The published sample unpacks to sample/images/: one or two folders deeper is found where neither is there.
    """
    parts = sorted(path.name for path in folder.glob("images_[0-9][0-9][0-9]") if path.is_dir())
    places = {"images", *parts, *(f"{part}/images" for part in parts)}
    if not parts and not (folder / "images").is_dir():
        found = [*folder.glob("[!.]*/images"), *folder.glob("[!.]*/[!.]*/images")]
        places |= {path.relative_to(folder).as_posix() for path in found}
    if len(places) == 1:
        return Series("images/", index=names.index)
    home: dict[str, str] = {}
    for path in sorted(path for path, _ in walk(folder, {place.partition("/")[0] for place in places})):
        within, _, name = path.rpartition("/")
        if within in places:
            if name in home:
                raise UserError(f"{folder}: {name} is in {home[name]} and in {within}/: remove one of them")
            home[name] = f"{within}/"
    return names.map(home)


def _official_parts(folder: Path, table: Table, names: Series) -> Series:
    lists = {part: folder / name for part, name in (("train", TRAIN_LIST), ("test", TEST_LIST))}
    there = [path for path in lists.values() if path.exists()]
    if not there:
        return Series("train", index=names.index)
    if len(there) == 1:
        missing = TEST_LIST if there[0].name == TRAIN_LIST else TRAIN_LIST
        raise UserError(f"{there[0]} is there but {missing} is not: put both lists there, or neither")
    # Names without their extension: copies of the data set are often converted to JPEG.
    stems = names.str.replace(r"\.[^.]*$", "", regex=True)
    listed = {part: stems.isin(_read_list(path)) for part, path in lists.items()}
    for row in names.index[listed["train"] == listed["test"]][:1]:
        state = f"in both {TRAIN_LIST} and {TEST_LIST}" if listed["train"][row] else "in neither list"
        raise UserError(
            f"{table.where(row, 'Image Index')}: {names[row]!r} is {state}: "
            f"mend {TRAIN_LIST} and {TEST_LIST}, or remove both"
        )
    return Series(np.where(listed["test"], "test", "train"), index=names.index)


def _read_list(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8, one image name per line") from None
    if not lines:
        raise UserError(f"{path} is empty: put one image name on each line, or remove both lists")
    return {line.rpartition(".")[0] or line for line in lines}
