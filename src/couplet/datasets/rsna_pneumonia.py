"""RSNA Pneumonia Detection Challenge, stage 2: stage_2_train_labels.csv (a row per box), stage_2_train_images/<id>.dcm.

The competition's test images have no labels in its files and are not read.
"""

from __future__ import annotations

from pathlib import Path

from pandas import DataFrame, Series

from couplet.datasets.base import Dataset, image_table
from couplet.datasets.folder import check_images
from couplet.datasets.tables import Table, read_raw_table
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.sources.rsna_pneumonia import Settings

BOXES, CLASSES, HOME = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv", "stage_2_train_images"
TARGET = "Target"
NAMES = ("Lung Opacity", "No Lung Opacity / Not Normal", "Normal")


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read a row per image; the test part is drawn by split.test_fraction."""
    boxes = read_raw_table(folder / BOXES, ("patientId", TARGET))
    boxes.say_unread(("patientId", TARGET, "x", "y", "width", "height"))
    image_id = _one_row_each(boxes, TARGET)
    labels = boxes.label_values([TARGET]).loc[image_id.index]
    if args.labels == "classes":
        labels = _classes(folder, boxes, image_id)
    paths = f"{HOME}/" + image_id + ".dcm"
    if check_files:
        check_images(folder, paths, boxes.place("patientId"))
    # The competition has one image for each of its patient ids.
    images = image_table(labels, image_id=image_id, part="train", patient_id=image_id, path=paths)
    say("rsna_pneumonia: the test part is drawn (split.test_fraction); ids name images, not people")
    return Dataset(labels=[str(name) for name in labels.columns], table=images)


def _one_row_each(table: Table, column: str) -> Series:
    """The first row of each patientId; all its rows must agree in `column`."""
    ids, values = table.filled("patientId"), table.filled(column)
    firsts = ids.drop_duplicates()
    first_value = Series(values.loc[firsts.index].to_numpy(), index=firsts.to_numpy())
    differ = values.to_numpy() != ids.map(first_value).to_numpy()
    for row in ids.index[differ][:1]:
        raise UserError(
            f"{table.where(row, column)}: {values[row]!r}, but {ids[row]!r} has {first_value[ids[row]]!r} in an "
            "earlier row: correct one of them"
        )
    return firsts


def _classes(folder: Path, boxes: Table, image_id: Series) -> DataFrame:
    """A column of 0 and 1 for each of NAMES, with the index of `image_id`."""
    table = read_raw_table(folder / CLASSES, ("patientId", "class"))
    table.one_of("class", NAMES)
    firsts = _one_row_each(table, "class")
    classes = Series(table.text("class").loc[firsts.index].to_numpy(), index=firsts.to_numpy())
    for row in image_id.index[~image_id.isin(classes.index)][:1]:
        raise UserError(
            f"{boxes.where(row, 'patientId')}: {image_id[row]!r} is not in {CLASSES}: use the tables of one release"
        )
    of_images = image_id.map(classes)
    return DataFrame({name: (of_images == name).astype(float) for name in NAMES}, index=image_id.index)
