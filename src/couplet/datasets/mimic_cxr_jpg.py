"""MIMIC-CXR-JPG: labels per study, split, metadata per image, files/p10/p10000032/s50414267/<dicom>.jpg.

MIMIC-CXR itself has the same tree with .dcm; its labels are the tables of MIMIC-CXR-JPG.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pandas import Series

from couplet.datasets import chexpert
from couplet.datasets.base import Dataset, image_table
from couplet.datasets.folder import check_images
from couplet.datasets.tables import Table, read_raw_table
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.sources.mimic_cxr_jpg import Settings

IDS = ("subject_id", "study_id")
LABELS = tuple(sorted(chexpert.LABELS))  # CheXpert's labels in the order of both labellers' tables
LABELERS = ("chexpert", "negbio")


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read the three tables; `validate` counts as train; images of unlabelled studies are left out."""
    studies = _table(folder, _labeler(folder, args), (*IDS, *LABELS))
    studies.say_unread((*IDS, *LABELS))
    split = _table(folder, "split", ("dicom_id", *IDS, "split"))
    metadata = _table(folder, "metadata", ("dicom_id", "ViewPosition"))

    image_id = split.unique("dicom_id")
    patient, study = split.filled("subject_id"), split.filled("study_id")
    part = split.parts("split")
    views = Series(metadata.text("ViewPosition").to_numpy(), index=metadata.unique("dicom_id").to_numpy())
    for row in image_id.index[~image_id.isin(views.index)][:1]:
        raise UserError(
            f"{split.where(row, 'dicom_id')}: {image_id[row]!r} is not in {metadata.path.name}: "
            "use the tables of one release"
        )

    values = studies.label_values(LABELS).set_index(_study_keys(studies))
    keys = patient + "/" + study
    labelled = keys.isin(values.index)
    keys = keys[labelled]
    if keys.empty:
        raise UserError(f"{studies.path} has no study of {split.path.name}: use the tables of one release")
    home = "files/p" + patient.str[:2] + "/p" + patient + "/s" + study + "/"
    paths = (home + image_id + f".{args.files}")[labelled]
    if check_files:
        check_images(folder, paths, split.place("dicom_id"))
    images = image_table(
        values.loc[keys].set_index(keys.index),
        image_id=image_id[labelled],
        part=part[labelled],
        patient_id=patient[labelled],
        study_id=study[labelled],
        view=image_id[labelled].map(views),
        path=paths,
    )
    dropped = int(np.count_nonzero(~labelled))
    return Dataset(
        labels=list(LABELS), table=images, notes={"images_without_labels": dropped} if dropped else {}
    )


def _table(folder: Path, name: str, columns: tuple[str, ...]) -> Table:
    return read_raw_table(_path(folder, name), columns)


def _path(folder: Path, name: str) -> Path:
    plain = folder / f"mimic-cxr-2.0.0-{name}.csv"
    packed = plain.with_name(f"{plain.name}.gz")
    return packed if packed.exists() and not plain.exists() else plain


def _labeler(folder: Path, args: Settings) -> str:
    if args.labeler != "auto":
        return args.labeler
    first, other = (_path(folder, name) for name in LABELERS)
    if first.exists() or not other.exists():
        return LABELERS[0]
    say(f"mimic_cxr_jpg: labels of {other.name}, {first.name} is not there")
    return LABELERS[1]


def _study_keys(studies: Table) -> Series:
    keys = studies.filled("subject_id") + "/" + studies.filled("study_id")
    for row in keys.index[keys.duplicated()][:1]:
        raise UserError(
            f"{studies.where(row, 'study_id')}: study {keys[row]!r} has a row already: take one of them out"
        )
    return keys
