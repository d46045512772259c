"""A data set as `prepare` takes it from its raw folder: its table, and what the inventory has of its images.

What asks for a look is said here, before anything is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pandas import DataFrame

from couplet.datasets.base import Dataset
from couplet.datasets.external import no_external, read_external, record
from couplet.datasets.folder import IMAGE_ENDINGS
from couplet.datasets.inventory import Inventory, load_inventory
from couplet.datasets.raw_folder import raw_folder
from couplet.datasets.registry import read_dataset
from couplet.datasets.tables import hidden_rows
from couplet.images.decoding.packing import RawImage
from couplet.project.console import say
from couplet.project.project import Project
from couplet.settings.params import Params
from couplet.splits.usable import one_valued_line


@dataclass(frozen=True)
class RawSet:
    """A data set to be stored.

    Attributes:
        source: its adapter.
        folder: its raw folder.
        dataset: sorted by image_id, its labels 1, 0 or NaN.
        images: what the inventory has of each image, in the table's order.
        about: what labels.json says of it, beside what it says of every store.
    """

    source: str
    folder: Path
    dataset: Dataset
    images: list[RawImage]
    about: dict[str, object]


def read_raw(params: Params, project: Project) -> RawSet:
    """The data set that the run is of.

    The inventory and the tables as they were read are freed on return.

    Raises:
        UserError: the raw data is not what data/inventory.json says, or its tables or settings are wrong.
    """
    data = params.data
    raw = raw_folder(data.source, project, data.source_args)
    inventory = load_inventory(data.source, raw, project)
    inventory.check(raw)
    dataset = read_dataset(data.source, raw, data.source_args)
    table = dataset.known(data.uncertain, data.unmentioned)
    table = table.sort_values("image_id", ignore_index=True)
    say_one_valued(table, dataset.labels)
    images = listed_images(table, inventory)
    counts = {
        "image_files_not_listed": unlisted_images(table, inventory),
        "test_images_without_labels": hidden_listed(dataset),
        **identical_files(table, images),
    }
    _noted(dataset, counts)
    return RawSet(data.source, raw, replace(dataset, table=table), images, {})


def read_raw_external(params: Params, run: Dataset, project: Project) -> RawSet:
    """The external test of a run on the data set `run`; without one a set without images.

    Raises:
        UserError: as `read_raw`, or no label is shared.
    """
    settings = params.data.external
    if not settings.given:
        return RawSet(settings.source, project.raw_root, no_external(run), [], record(settings, None))
    raw = raw_folder(settings.source, project, settings.source_args, settings.raw)
    inventory = load_inventory(settings.source, raw, project, settings.raw)
    inventory.check(raw)
    found = read_external(settings, raw, run, params.data.source)
    table = found.dataset.table.sort_values("image_id", ignore_index=True)
    images = listed_images(table, inventory)
    _noted(found.dataset, identical_files(table, images))
    dataset = replace(found.dataset, table=table)
    return RawSet(settings.source, raw, dataset, images, record(settings, found))


def _noted(dataset: Dataset, counts: dict[str, int]) -> None:
    dataset.notes.update({name: n for name, n in counts.items() if n})


def listed_images(table: DataFrame, inventory: Inventory) -> list[RawImage]:
    """What the inventory has of each image, in the table's order."""
    sizes = dict(zip(inventory.files["path"], inventory.files["size"], strict=True))
    return [RawImage(path, md5=inventory.md5_of(path), size=sizes[path]) for path in table["path"]]


def unlisted_images(table: DataFrame, inventory: Inventory) -> int:
    """How many image files lie in the raw folder that no label table lists: they are not read."""
    files = inventory.files["path"]
    images = files.str.lower().str.endswith(IMAGE_ENDINGS)
    return int((images & ~files.isin(table["path"])).sum())


def hidden_listed(dataset: Dataset) -> int:
    """How many test images have a row in a label table, in which every label is blank: they stay unknown."""
    return int((hidden_rows(dataset.table, dataset.labels) & (dataset.table["row"] > 0)).sum())


def say_one_valued(table: DataFrame, labels: list[str]) -> None:
    """Say which labels have one value among the training images, their unknown cells resolved."""
    truth = table.loc[table["part"] == "train", labels].to_numpy(np.float64)
    if idle := one_valued_line(truth, labels):
        say(f"warning: {idle}")


def identical_files(table: DataFrame, images: list[RawImage]) -> dict[str, int]:
    """The number of images whose files are the same byte for byte, which is said if there are any.

    Before anything is decoded; copies of one patient count as well. Which pictures of different patients end in two
    parts is counted by `split_mis`, on what is stored.
    """
    files = table[["path", "patient_id", "part"]].assign(md5=[image.md5 for image in images])
    files = files[[image.size > 0 for image in images]]  # empty files are no pictures
    same = files[files["md5"].duplicated(keep=False)]
    if same.empty:
        return {}
    pictures = same.groupby("md5", sort=False)
    patients, parts = (int((pictures[column].nunique() > 1).sum()) for column in ("patient_id", "part"))
    first = same.loc[same["md5"] == same["md5"].iloc[0], "path"]
    say(
        f"warning: {len(same):,} images are only {_count(pictures.ngroups)}: the files are identical (first: "
        f"{first.iloc[0]} and {first.iloc[1]}); of different patients: {_count(patients)}, in train and in test: "
        f"{_count(parts)}"
    )
    return {"images_with_identical_files": len(same)}


def _count(pictures: int) -> str:
    return f"{pictures:,} picture{'' if pictures == 1 else 's'}"
