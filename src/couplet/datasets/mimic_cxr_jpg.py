"""MIMIC-CXR-JPG: labels per study, split, metadata per image, files/p10/p10000032/s50414267/<dicom>.jpg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pandas import Series

from couplet.datasets.base import Dataset, Settings, image_table
from couplet.datasets.folder import check_images
from couplet.datasets.tables import Table, read_table
from couplet.project.errors import UserError

IDS = ("subject_id", "study_id")


class Args(Settings):
    """`data.source_args` of mimic_cxr_jpg: none."""


def read(folder: Path, args: Args, check_files: bool = True) -> Dataset:
    """Read the three tables; `validate` counts as train; images of unlabelled studies are left out."""
    studies = _table(folder, "chexpert", IDS)
    split = _table(folder, "split", ("dicom_id", *IDS, "split"))
    metadata = _table(folder, "metadata", ("dicom_id", "ViewPosition"))
    labels = [name for name in studies.columns if name not in IDS]

    image_id = split.unique("dicom_id")
    patient, study = split.filled("subject_id"), split.filled("study_id")
    part = split.one_of("split", ("train", "validate", "test")).replace({"validate": "train"})
    views = Series(metadata.text("ViewPosition").to_numpy(), index=metadata.unique("dicom_id").to_numpy())
    for row in image_id.index[~image_id.isin(views.index)][:1]:
        raise UserError(
            f"{split.where(row, 'dicom_id')}: {image_id[row]!r} is not in {metadata.path.name}: "
            "use the tables of one release"
        )

    values = studies.label_values(labels).set_index(_study_keys(studies))
    keys = patient + "/" + study
    labelled = keys.isin(values.index)
    keys = keys[labelled]
    if keys.empty:
        raise UserError(f"{studies.path} has no study of {split.path.name}: use the tables of one release")
    home = "files/p" + patient.str[:2] + "/p" + patient + "/s" + study + "/"
    paths = (home + image_id + ".jpg")[labelled]
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
    return Dataset(labels=labels, table=images, notes={"images_without_labels": dropped} if dropped else {})


def _table(folder: Path, name: str, columns: tuple[str, ...]) -> Table:
    plain = folder / f"mimic-cxr-2.0.0-{name}.csv"
    packed = plain.with_name(f"{plain.name}.gz")
    return read_table(packed if packed.exists() and not plain.exists() else plain, columns)


def _study_keys(studies: Table) -> Series:
    keys = studies.filled("subject_id") + "/" + studies.filled("study_id")
    for row in keys.index[keys.duplicated()][:1]:
        raise UserError(
            f"{studies.where(row, 'study_id')}: study {keys[row]!r} has a row already: take one of them out"
        )
    return keys
