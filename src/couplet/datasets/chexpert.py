"""CheXpert: train.csv, valid.csv (the test part), train/patient00001/study1/view1_frontal.jpg ..."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pandas import DataFrame

from couplet.datasets.base import Dataset, Settings, image_table
from couplet.datasets.folder import check_images
from couplet.datasets.tables import Table, read_table
from couplet.project.errors import UserError

PEOPLE = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")


class Args(Settings):
    """`data.source_args` of chexpert: none."""


def read(folder: Path, args: Args, check_files: bool = True) -> Dataset:
    """Read both tables; labels in file order, -1 uncertain, blank not mentioned in the report."""
    train, valid = (read_table(folder / name, PEOPLE) for name in ("train.csv", "valid.csv"))
    labels = [name for name in train.columns if name not in PEOPLE]
    valid.require(labels)
    parts = [_images(train, "train", "train", labels), _images(valid, "test", "valid", labels)]
    if check_files:
        for table, images in zip((train, valid), parts, strict=True):
            check_images(folder, images.set_index("row")["path"], table.place("Path"))
    return Dataset(labels=labels, table=pd.concat(parts, ignore_index=True))


def _images(table: Table, part: str, home: str, labels: list[str]) -> DataFrame:
    # Paths start with the release's name, CheXpert-v1.0/ or CheXpert-v1.0-small/, which is the raw folder.
    paths = table.unique("Path").str.replace(r"^CheXpert-v[^/]*/", "", regex=True)
    pieces = paths.str.extract(rf"^{home}/(patient\d+)/(study\d+)/[^/]+$")
    for row in paths.index[pieces[0].isna()][:1]:
        raise UserError(
            f"{table.where(row, 'Path')}: {paths[row]!r} is not {home}/patientN/studyN/view.jpg: "
            f"keep only rows of {home}/ in {table.path.name}"
        )
    position = table.text("AP/PA")
    return image_table(
        table.label_values(labels),
        image_id=paths,
        part=part,
        patient_id=pieces[0],
        study_id=pieces[0] + "_" + pieces[1],
        view=position.where(position != "", table.text("Frontal/Lateral")),
        sex=table.text("Sex"),
        age=table.text("Age"),
        path=paths,
    )
