"""Any CSV table with an image column and label columns of 0, 1, -1 (uncertain) or nothing (unknown)."""

from __future__ import annotations

import re
from pathlib import Path

from pandas import DataFrame, Series
from pydantic import Field

from couplet.datasets.base import Dataset, Settings, image_table
from couplet.datasets.folder import check_images, check_paths
from couplet.datasets.tables import LABEL_VALUES, Table, find_table, read_table
from couplet.project.console import say
from couplet.project.errors import UserError

# Columns that are found without a setting: lower case, without spaces, dots, dashes and underscores.
COMMON = {
    "image": (
        *("image", "imagename", "imageindex", "imagefile", "imagepath", "imageid"),
        *("filename", "filepath", "file", "path"),
    ),
    "patient": ("patient", "patientid", "subject", "subjectid"),
    "study": ("study", "studyid"),
    "view": ("view", "viewposition"),
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "age": ("age", "patientage"),
    "part": ("part", "split"),
}
AUTO, NONE = "auto", "none"
_COLUMN = "a column's name; auto: found by common names; none: there is no such column"


class Args(Settings):
    """`data.source_args` of csv."""

    table: str = Field("", description="the CSV file; default: labels.csv, else the only *.csv")
    image_folder: str = Field("", description="what image paths start from; default: images/ if it is there")
    label_columns: list[str] = Field([], description="default: all columns of 0, 1, -1 and empty cells")
    image_column: str = Field(AUTO, description=_COLUMN)
    patient_column: str = Field(AUTO, description=f"{_COLUMN} (every image its own patient)")
    study_column: str = Field(AUTO, description=_COLUMN)
    view_column: str = Field(AUTO, description=_COLUMN)
    sex_column: str = Field(AUTO, description=_COLUMN)
    age_column: str = Field(AUTO, description=_COLUMN)
    part_column: str = Field(AUTO, description=f"{_COLUMN} (all images are training images)")


def read(folder: Path, args: Args, check_files: bool = True) -> Dataset:
    """Read the table; rows that repeat an image are one image if they agree, and an error if they do not."""
    table = read_table(_table_path(folder, args))
    columns = {role: _find_column(table, role, getattr(args, f"{role}_column")) for role in COMMON}
    image = columns["image"]
    if not image:
        raise UserError(
            f"{table.path}, row 1: no image column: set data.source_args.image_column to its name"
        )
    labels = _label_columns(table, args, set(columns.values()))

    table.say_unread({*labels, *columns.values()})

    names = table.filled(image).str.removeprefix("./")
    check_paths(names, table.place(image))
    paths = _image_folder(folder, args, names) + names
    if check_files:
        check_images(folder, paths, table.place(image))
    part = columns["part"]
    images = image_table(
        table.label_values(labels),
        image_id=names,
        part=table.one_of(part, ("train", "test")) if part else "train",
        patient_id=table.filled(columns["patient"]) if columns["patient"] else names,
        study_id=table.text(columns["study"]),
        view=table.text(columns["view"]),
        sex=table.text(columns["sex"]),
        age=table.text(columns["age"]),
        path=paths,
    )
    merged = _merge_repeats(images, labels, table, image)
    notes = {"repeated_rows": len(images) - len(merged)}
    if not columns["patient"]:
        say(
            f"{table.path.name}: no patient column, each image counts as its own patient: scores may be too good"
        )
        notes["images_without_patient"] = len(merged)
    return Dataset(labels=labels, table=merged, notes={name: n for name, n in notes.items() if n})


def _table_path(folder: Path, args: Args) -> Path:
    if not args.table:
        return find_table(folder, ["labels.csv"], remedy="name it in data.source_args.table")
    check_paths(Series([args.table]), lambda _: "data.source_args.table")
    return folder / args.table


def _find_column(table: Table, role: str, setting: str) -> str:
    """Name of the column with that role; empty if there is none."""
    if setting == NONE:
        return ""
    if setting != AUTO:
        table.require([setting], remedy=f"correct data.source_args.{role}_column")
        return setting
    plain = {name: re.sub(r"[ ._-]", "", name.lower()) for name in table.columns}
    found = [name for name in table.columns if plain[name] in COMMON[role]]
    if len(found) > 1:
        # image_id is often a number beside the file's name.
        found = [name for name in found if plain[name] != "imageid"]
    if len(found) > 1:
        raise UserError(
            f"{table.path}, row 1: columns {', '.join(map(repr, found))} could each be the {role} column: "
            f"set data.source_args.{role}_column to one of them"
        )
    return found[0] if found else ""


def _label_columns(table: Table, args: Args, taken: set[str]) -> list[str]:
    if args.label_columns:
        labels = list(args.label_columns)
        table.require(labels, remedy="correct data.source_args.label_columns")
        if twice := [name for name in labels if labels.count(name) > 1 or name in taken]:
            raise UserError(
                f"data.source_args.label_columns: {twice[0]!r} is there twice or is no label: remove it"
            )
        return labels
    labels = []
    for name in table.columns:
        cells = table.cells[name]
        filled = cells[cells != ""]
        fits = filled.isin(list(LABEL_VALUES))
        if name in taken or filled.empty or not fits.any():
            continue
        # A label with one typing error must not become a column that is silently not read.
        if fits.mean() > 0.5 and not fits.all():
            row = filled.index[~fits][0]
            raise UserError(
                f"{table.where(row, name)}: {filled[row]!r} is not a label, but most cells of that column "
                "are: write 1, 0, -1 or nothing, or name the labels in data.source_args.label_columns"
            )
        if fits.all():
            labels.append(name)
    if not labels:
        raise UserError(
            f"{table.path}, row 1: no column holds labels (1, 0, -1 or nothing): "
            "name the labels in data.source_args.label_columns"
        )
    return labels


def _image_folder(folder: Path, args: Args, names: Series) -> str:
    home = args.image_folder
    if not home:
        # Paths in the table may say images/ themselves.
        home = "images" if (folder / "images").is_dir() and not names.str.startswith("images/").all() else "."
    return "" if home == "." else f"{home.rstrip('/')}/"


def _merge_repeats(images: DataFrame, labels: list[str], table: Table, column: str) -> DataFrame:
    """Keep the first row of each image; patients who share an image are one person, named as in that row."""
    repeats = images[images["image_id"].duplicated()]
    if repeats.empty:
        return images
    firsts = images.drop_duplicates("image_id").set_index("image_id").loc[repeats["image_id"]]
    one, other = (frame[["part", *labels]].reset_index(drop=True) for frame in (firsts, repeats))
    differ = ~(one.eq(other) | (one.isna() & other.isna())).all(axis=1).to_numpy()
    if differ.any():
        bad, first = repeats[differ].iloc[0], firsts[differ].iloc[0]
        raise UserError(
            f"{table.where(bad['row'], column)}: {bad['image_id']!r} is already in row {first['row']} with "
            "other labels or another part: take one of them out"
        )
    same_person: dict[str, str] = {}

    def person(patient: str) -> str:
        while patient in same_person:
            patient = same_person[patient]
        return patient

    for here, there in zip(firsts["patient_id"], repeats["patient_id"], strict=True):
        if person(here) != person(there):
            same_person[person(there)] = person(here)
    merged = images.drop_duplicates("image_id", ignore_index=True)
    return merged.assign(patient_id=merged["patient_id"].map(person))
