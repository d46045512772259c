"""RANZCR CLiP: train.csv, train/<StudyInstanceUID>.jpg, test/, and sample_submission.csv, whose test labels are hidden.

Tang et al., CLiP, catheter and line position dataset, Scientific Data 2021; the Kaggle competition of 2021. Its tables
name images without their ending, and each image is a study of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pandas import DataFrame

from couplet.datasets.base import Dataset, image_table
from couplet.datasets.folder import IMAGE_ENDINGS, check_images, check_paths, walk, with_endings
from couplet.datasets.tables import Table, read_raw_table
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.sources.ranzcr_clip import Settings

# The competition's order, which a submission keeps.
LABELS = (
    "ETT - Abnormal",
    "ETT - Borderline",
    "ETT - Normal",
    "NGT - Abnormal",
    "NGT - Borderline",
    "NGT - Incompletely Imaged",
    "NGT - Normal",
    "CVC - Abnormal",
    "CVC - Borderline",
    "CVC - Normal",
    "Swan Ganz Catheter Present",
)
ID, PATIENT = "StudyInstanceUID", "PatientID"
TRAIN, SAMPLE = "train.csv", "sample_submission.csv"
OTHER_LABELS = "use the competition's own table, or data.source: csv for one with other labels"


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read the labelled training images, and the test images where the sample submission lists them."""
    train = _table(folder / TRAIN)
    train.require((PATIENT,), remedy=OTHER_LABELS)
    train.say_unread((ID, PATIENT, *LABELS))
    parts = [_images(folder, train, "train", check_files)]
    sample = _table(folder / SAMPLE) if (folder / SAMPLE).exists() else None
    if sample is None:
        _require_no_test_images(folder)
    else:
        listed = sample.text(ID)
        for row in listed.index[listed.isin(parts[0]["image_id"])][:1]:
            raise UserError(
                f"{sample.where(row, ID)}: {listed[row]!r} is also a training image of {TRAIN}: an image cannot be in "
                "both, take it out of one"
            )
        sample.say_unread((ID, *LABELS))
        parts.append(_images(folder, sample, "test", check_files))
    return Dataset(
        labels=list(LABELS),
        table=pd.concat(parts, ignore_index=True),
        submission_id=ID if sample else None,
        submission=sample.cells[ID].tolist() if sample else None,
        submission_columns=[name for name in sample.columns if name in (ID, *LABELS)] if sample else None,
    )


def _table(path: Path) -> Table:
    table = read_raw_table(path)
    table.require((ID, *LABELS), remedy=OTHER_LABELS)
    return table


def _images(folder: Path, table: Table, part: str, check_files: bool) -> DataFrame:
    """A row per image. The test images' labels and patients are not published: each counts as its own patient."""
    names, place = table.unique(ID), table.place(ID)
    paths = f"{part}/" + names
    check_paths(paths, place)
    if check_files:
        paths = with_endings(folder, paths, place)
        check_images(folder, paths, place)
    else:
        paths += ".jpg"
    hidden = part == "test"
    return image_table(
        DataFrame(np.nan, index=names.index, columns=list(LABELS)) if hidden else table.label_values(LABELS),
        image_id=names,
        part=part,
        patient_id=names if hidden else table.filled(PATIENT),
        study_id=names,
        path=paths,
        row=0 if hidden else None,
    )


def _require_no_test_images(folder: Path) -> None:
    # Without a list a share of the training images would become the test part.
    if any(path.lower().endswith(IMAGE_ENDINGS) for path, _ in walk(folder, {"test"})):
        raise UserError(
            f"{folder / SAMPLE} is not there, but test/ holds images: put it there, or move test/ elsewhere to draw "
            "the test part from the training images"
        )
    say(f"ranzcr_clip: {SAMPLE} is not there: the test part is drawn from {TRAIN} (split.test_fraction)")
