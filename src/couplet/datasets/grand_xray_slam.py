"""Grand X-Ray SLAM, divisions A and B: train2.csv, train2/, test2/ and sample_submission_2.csv (1 for A).

The phantom is drawn in this layout. Any table with the same 21 columns beside images/ is read as well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from couplet.datasets.base import Dataset, image_table
from couplet.datasets.folder import IMAGE_ENDINGS, check_images, check_paths, walk
from couplet.datasets.tables import Table, find_table, read_raw_table
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.sources.grand_xray_slam import Settings

PEOPLE = ("Image_name", "Patient_ID", "Study", "Sex", "Age", "ViewCategory", "ViewPosition")
LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
ID = "Image_name"


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read one division: labelled training images, and the test images where they are listed."""
    number = _division_number(folder, args)
    train = read_raw_table(_train_table(folder, number), (*PEOPLE, *LABELS))
    train.say_unread((*PEOPLE, *LABELS))
    parts = [_labelled_images(train, "train", _image_folder(folder, "train", number))]
    if check_files:
        check_images(folder, parts[0].set_index("row")["path"], train.place(ID))

    sample, answers = (
        _optional(folder / f"sample_submission_{number}.csv"),
        _optional(folder / f"test{number}.csv"),
    )
    listing = sample or answers
    if listing is None and number:
        _require_no_test_images(folder, number)
    if listing is not None:
        names = listing.unique(ID)
        check_paths(names, listing.place(ID))
        for row in names.index[names.isin(parts[0]["image_id"])][:1]:
            raise UserError(
                f"{listing.where(row, ID)}: {names[row]!r} is also a training image of {train.path.name}: "
                "an image cannot be in both, take it out of one"
            )
        images = _image_folder(folder, "test", number)
        if answers is not None:
            _check_same_images(answers, names)
            parts.append(_labelled_images(answers, "test", images))
        else:
            parts.append(_unlabelled_images(names, images))
        if check_files:
            check_images(folder, images + names, listing.place(ID))

    if sample and (left := [name for name in sample.columns if name not in (ID, *LABELS)]):
        say(
            f"{sample.path.name}: columns that are no labels and will not be in submission.csv: {', '.join(left)}"
        )
    return Dataset(
        labels=list(LABELS),
        table=pd.concat(parts, ignore_index=True),
        submission_id=ID if sample else None,
        submission=sample.cells[ID].tolist() if sample else None,
        submission_columns=[name for name in sample.columns if name in (ID, *LABELS)] if sample else None,
    )


def _division_number(folder: Path, args: Settings) -> int | None:
    # Published files are numbered: 1 is division A, 2 is B. None: a table of another name, without test part.
    if args.division != "auto":
        return {"A": 1, "B": 2}[args.division]
    for pattern in ("train{}.csv", "sample_submission_{}.csv", "train{}"):
        there = [number for number in (1, 2) if (folder / pattern.format(number)).exists()]
        if len(there) > 1:
            raise UserError(
                f"{folder} holds both divisions ({pattern.format(1)}, {pattern.format(2)}): "
                "set data.source_args.division to A or B"
            )
        if there:
            return there[0]
    return None


def _train_table(folder: Path, number: int | None) -> Path:
    names = [f"train{number}.csv"] if number else ["train1.csv", "train2.csv"]
    # Never a test table, and never the other division's.
    others = ("train1.csv", "train2.csv", "test1.csv", "test2.csv")
    return find_table(folder, names, (*PEOPLE, *LABELS), not_these=others)


def _image_folder(folder: Path, part: str, number: int | None) -> str:
    numbered = f"{part}{number}" if number else "images"
    return "images/" if (folder / "images").is_dir() and not (folder / numbered).is_dir() else f"{numbered}/"


def _require_no_test_images(folder: Path, number: int) -> None:
    # Without a list a share of the training images would become the test part.
    test = f"test{number}"
    if any(path.lower().endswith(IMAGE_ENDINGS) for path, _ in walk(folder, {test})):
        raise UserError(
            f"{folder}/sample_submission_{number}.csv is not there (nor {test}.csv), but {test}/ holds images: put it "
            f"there, or move {test}/ elsewhere to draw the test part from the training images"
        )


def _optional(path: Path) -> Table | None:
    if not path.exists():
        return None
    table = read_raw_table(path, (ID, *LABELS))
    extra = [name for name in table.columns if name not in (*PEOPLE, *LABELS)]
    if extra:
        raise UserError(f"{path}, row 1: column {extra[0]!r} is none of the 14 labels: remove or rename it")
    return table


def _labelled_images(table: Table, part: str, images: str) -> DataFrame:
    names = table.unique(ID)
    check_paths(names, table.place(ID))
    if "Patient_ID" in table.columns:
        patient, study = table.filled("Patient_ID"), table.filled("Study")
        study_id = patient + "_" + study
    else:
        patient, study_id = _people_from_names(names)
    position = table.text("ViewPosition")
    return image_table(
        table.label_values(LABELS),
        image_id=names,
        part=part,
        patient_id=patient,
        study_id=study_id,
        view=position.where(position != "", table.text("ViewCategory")),
        sex=table.text("Sex"),
        age=table.text("Age"),
        path=images + names,
    )


def _unlabelled_images(names: Series, images: str) -> DataFrame:
    unknown = DataFrame(np.nan, index=names.index, columns=list(LABELS))
    patient, study_id = _people_from_names(names)
    return image_table(
        unknown,
        image_id=names,
        part="test",
        patient_id=patient,
        study_id=study_id,
        path=images + names,
        row=0,
    )


def _people_from_names(names: Series) -> tuple[Series, Series]:
    # PPPPPPPP_SSS_VVV.jpg: patient, study, view; the tables write the numbers without leading zeros.
    numbers = names.str.extract(r"^0*(\d+)_0*(\d+)_\d+\.")
    known = numbers.notna().all(axis=1)
    patient = numbers[0].where(known, names)
    return patient, (patient + "_" + numbers[1]).where(known, "")


def _check_same_images(answers: Table, names: Series) -> None:
    listed = answers.unique(ID)
    for row in listed.index[~listed.isin(names)][:1]:
        raise UserError(
            f"{answers.where(row, ID)}: {listed[row]!r} is not in the sample submission: take it out"
        )
    missing = names[~names.isin(listed)]
    if len(missing):
        raise UserError(
            f"{answers.path} has no row for the test image {missing.iloc[0]!r} (missing: {len(missing)}): "
            "label all test images or remove the file"
        )
