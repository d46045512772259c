"""Any CSV table with an image column and label columns of 0, 1, -1 (uncertain) or nothing (unknown).

`couplet.datasets.csv_labels` says which columns are labels.
"""

from __future__ import annotations

import re
from pathlib import Path

from pandas import DataFrame, Series

from couplet.datasets.base import META, RESERVED, Dataset, image_table
from couplet.datasets.csv_labels import label_columns
from couplet.datasets.folder import IMAGE_ENDINGS, check_images, check_paths, homes_of, with_endings
from couplet.datasets.names import check_names
from couplet.datasets.tables import Table, find_table, read_raw_table
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.sources.csv import AUTO, NONE, Settings

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
# Columns of ids that some data sets name their images by: looked at where none of the common ones is there.
IDS = ("id", "uid", "dicomid", "sopinstanceuid", "studyinstanceuid", "seriesinstanceuid", "patientid")
# Columns of other names that are looked at to say which one holds names of files.
MOST_OTHERS = 10
TABLES = ("labels.csv", "train.csv")


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read the table; rows that repeat an image are one image if they agree, and an error if they do not."""
    table = read_raw_table(_table_path(folder, args))
    columns = {role: _find_column(table, role, getattr(args, f"{role}_column")) for role in COMMON}
    columns["image"] = image = columns["image"] or _column_of_files(table, folder, args)
    groups = _group_columns(table, args)
    labels = label_columns(table, args.label_columns, {*columns.values(), *groups}, image)

    table.say_unread({*labels, *columns.values(), *groups})

    names = table.filled(image).str.removeprefix("./")
    check_names(names, table.place(image))  # again: what was in front may have hidden a formula
    check_paths(names, table.place(image))
    paths = _image_folder(folder, args, names, table) + names
    if check_files:
        paths = with_endings(folder, paths, table.place(image))
        check_images(folder, paths, table.place(image))
    images = image_table(
        table.label_values(labels),
        image_id=names,
        part=table.parts(columns["part"]) if columns["part"] else "train",
        patient_id=_patients(table, columns, names),
        study_id=table.text(columns["study"]),
        view=table.text(columns["view"]),
        sex=table.text(columns["sex"]),
        age=table.text(columns["age"]),
        path=paths,
    )
    for place, name in enumerate(groups, start=len(META)):
        images.insert(place, name, table.text(name).to_numpy())
    merged = _merge_repeats(images, labels, table, image)
    notes = {"repeated_rows": len(images) - len(merged)}
    if not columns["patient"]:
        notes["images_without_patient"] = len(merged)
    notes = {name: n for name, n in notes.items() if n}
    return Dataset(labels=labels, table=merged, notes=notes, group_columns=groups)


def _table_path(folder: Path, args: Settings) -> Path:
    if not args.table:
        samples = [path.name for path in folder.glob("*sample_submission*.csv")]
        return find_table(folder, TABLES, not_these=samples, remedy="name it in data.source_args.table")
    check_paths(Series([args.table]), lambda _: "data.source_args.table")
    check_names(Series([args.table]), lambda _: "data.source_args.table")
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


def _group_columns(table: Table, args: Settings) -> list[str]:
    """`data.source_args.group_columns`, in the table and under a name that the manifest does not have."""
    setting, groups = "data.source_args.group_columns", list(args.group_columns)
    table.require(groups, remedy=f"correct {setting}")
    for name in groups:
        if name in RESERVED:
            raise UserError(
                f"{setting}: {name!r} is the name of another column of the manifest: rename it in {table.path}"
            )
    return groups


def _column_of_files(table: Table, folder: Path, args: Settings) -> str:
    """Name of the one column of ids that name files.

    Raises:
        UserError: there is none, or several; a column of another name that holds names of files is named.
    """
    first = {name: table.cells[name].iloc[0] for name in table.columns}
    ids = [name for name in first if re.sub(r"[ ._-]", "", name.lower()) in IDS]
    found = [name for name in ids if _names_a_file(folder, args, first[name])]
    if args.image_column == AUTO and len(found) == 1:
        say(f"{table.path.name}: column {found[0]!r} names the images")
        return found[0]
    # Numbers are labels and ages rather than names of files.
    others = [name for name, cell in first.items() if name not in ids and re.search(r"[^\W\d]", cell)]
    others.sort(key=lambda name: not first[name].lower().endswith(IMAGE_ENDINGS))
    files = found + [name for name in others[:MOST_OTHERS] if _names_a_file(folder, args, first[name])]
    near = f" ({', '.join(map(repr, files))} holds names of files)" if files else ""
    raise UserError(
        f"{table.path}, row 1: no image column: set data.source_args.image_column to its name{near}"
    )


def _names_a_file(folder: Path, args: Settings, cell: str) -> bool:
    try:
        check_paths(Series([cell]), str)
    except UserError:
        return False
    return bool(homes_of(folder / args.image_folder, cell))


def _patients(table: Table, columns: dict[str, str], names: Series) -> Series:
    """The patient of each image: without a column of patients its study, and without one of both itself."""
    if columns["patient"]:
        return table.filled(columns["patient"])
    start = f"{table.path.name}: no patient column,"
    if not columns["study"]:
        say(f"{start} each image counts as its own patient: scores may be too good")
        return names
    say(
        f"{start} the images of a study ({columns['study']!r}) stay together: other studies of a patient may land in "
        "another fold, scores may be too good"
    )
    studies = table.text(columns["study"])
    return studies.where(studies != "", names)


def _image_folder(folder: Path, args: Settings, names: Series, table: Table) -> str:
    home = args.image_folder
    # Paths in the table may say images/ themselves.
    if not home and (folder / "images").is_dir() and not names.str.startswith("images/").all():
        home = "images"
    if not home and len(homes := homes_of(folder, names.iloc[0])) == 1 and homes != ["."]:
        home = homes[0]
        say(f"{table.path.name}: images are looked for in {home}/")
    return "" if home in ("", ".") else f"{home.rstrip('/')}/"


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
