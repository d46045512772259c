"""VinDr-CXR: annotations/image_labels_train.csv (a row per image and reader), image_labels_test.csv, train/<id>.dicom.

Nguyen et al., VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations, Scientific Data 2022. Three
radiologists read each training image by themselves; the test part has one row per image, on which five agreed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
from pandas import DataFrame

from couplet.datasets.base import Dataset, image_table
from couplet.datasets.folder import check_images
from couplet.datasets.tables import Table, read_raw_table
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.sources.vindr_cxr import Settings

# The release's order: 22 local findings, then six that stand for the whole image.
LABELS = (
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture"),
    *("Consolidation", "Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity"),
    *("Lung cavity", "Lung cyst", "Mediastinal shift", "Nodule/Mass", "Pleural effusion"),
    *("Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture", "Other lesion"),
    *("COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding"),
)
SPELLINGS = {"Other disease": "Other diseases"}  # one of the two tables has the first
TRAIN, TEST = "annotations/image_labels_train.csv", "annotations/image_labels_test.csv"


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read both tables; the test part is the release's, or drawn where its table is not there."""
    parts = [_part(folder, TRAIN, "train", args, check_files)]
    if (folder / TEST).exists():
        parts.append(_part(folder, TEST, "test", args, check_files))
    else:
        say(f"vindr_cxr: {TEST} is not there: the test part is drawn from {TRAIN} (split.test_fraction)")
    images = pd.concat(parts, ignore_index=True)
    say("vindr_cxr: the release names no patients, each image counts as its own")
    return Dataset(labels=list(LABELS), table=images, notes={"images_without_patient": len(images)})


def _part(folder: Path, name: str, part: str, args: Settings, check_files: bool) -> DataFrame:
    table = read_raw_table(folder / name, ("image_id",))
    table = replace(table, cells=table.cells.rename(columns=SPELLINGS))
    table.require(LABELS)
    table.say_unread(("image_id", "rad_id", *LABELS))
    labels = _agreed(table, args)
    image_id = table.text("image_id").loc[labels.index]
    paths = f"{part}/" + image_id + ".dicom"
    if check_files:
        check_images(folder, paths, table.place("image_id"))
    return image_table(labels, image_id=image_id, part=part, patient_id=image_id, path=paths)


def _agreed(table: Table, args: Settings) -> DataFrame:
    """One row per image, named by the line of its first: 1, 0, -1 (readers evenly divided) or NaN (nobody says)."""
    if "rad_id" not in table.columns:
        table.unique("image_id")
        return table.label_values(LABELS)
    image_id, reader = table.filled("image_id"), table.filled("rad_id")
    values = table.label_values(LABELS)
    twice = (image_id + "/" + reader).duplicated()
    for row in image_id.index[twice][:1]:
        raise UserError(
            f"{table.where(row, 'rad_id')}: {reader[row]!r} has read {image_id[row]!r} in an earlier row: take one of "
            "them out"
        )
    groups = values.where(values >= 0).groupby(image_id, sort=False)
    share = groups.mean() if args.readers == "majority" else groups.max()
    agreed = share.mask(share > 0.5, 1.0).mask(share < 0.5, 0.0).mask(share == 0.5, -1.0)
    firsts = image_id.drop_duplicates()
    return agreed.loc[firsts].set_index(firsts.index)
