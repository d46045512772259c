"""Stage prepare: raw images and label tables -> the packed store, its manifest and the quarantine list."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from pandas import DataFrame

from couplet.datasets.base import Dataset
from couplet.datasets.folder import IMAGE_ENDINGS
from couplet.datasets.inventory import Inventory, load_inventory, raw_folder
from couplet.datasets.registry import body_parts, read_dataset
from couplet.datasets.tables import hidden_rows
from couplet.images.packing import SHARD_SIZE, Outcome, Packing, RawImage
from couplet.project.console import progress, say
from couplet.project.errors import UserError
from couplet.project.files import write_csv, write_json
from couplet.project.project import HERE, Project
from couplet.results.manifest import write_manifest
from couplet.results.weights import refuse_unlisted_weights
from couplet.running.stale import refuse_stale_folds
from couplet.running.workspace import workspace
from couplet.settings.params import Params, load_params
from couplet.splits.usable import one_valued_line

QUARANTINE = ["image_id", "part", "path", "reason"]


def prepare() -> None:
    """Decode every image of the data set once, and write data/prepared: all of it or nothing.

    Raises:
        UserError: the raw data is not what data/inventory.json says, its labels are wrong, or more of its
            images than data.max_unreadable allows cannot be read.
    """
    project = Project()
    params = load_params(project.params)
    refuse_unlisted_weights(params.model, project)  # hours before train_fold would
    refuse_stale_folds(params.split.folds, project)
    source, image = params.data.source, params.image
    raw = raw_folder(source, project)
    dataset, images = read_raw(raw, params, project)
    table = dataset.table.drop(columns="row")
    notes = "".join(f", {name.replace('_', ' ')}: {count}" for name, count in dataset.notes.items())
    say(f"{source}: {len(table)} images, {len(dataset.labels)} labels{notes}")

    with workspace("prepare", f"{source}-{image.store_size}x{image.channels}", project) as scratch:
        packing = Packing(
            raw,
            images,
            scratch,
            image.store_size,
            image.channels,
            SHARD_SIZE,
            image.codec,
            image.dicom,
            body_parts(source, *dataset.members.values()),
        )
        outcomes = list(progress(packing.run(), "decoding", len(table)))
        table = pd.concat([table, DataFrame(outcomes, columns=list(Outcome._fields))], axis=1)
        table["view"] = table["view"].mask(table["view"] == "", table["view_position"])
        readable = table["reason"] == ""
        refuse_unreadable(table, readable, params.data.max_unreadable, project.scratch)
        say_blank(table[readable], dataset)
        say_burned_in(table[readable], dataset)

        if own_settings(load_params(project.params)) != own_settings(params):
            raise UserError(
                f"{project.params} changed while prepare ran, so nothing was written: run `dvc repro` again"
            )

        # Put together beside its place, so that data/prepared is there whole or not at all.
        unfinished = project.prepared.with_name("prepared.unfinished")
        remove(unfinished)
        packing.link_into(unfinished)
        write_tables(unfinished, table, readable, dataset, params)
        remove(project.prepared)
        unfinished.rename(project.prepared)
        packing.forget_others()
    say(f"{project.prepared}: {readable.sum()} images of {image.store_size} x {image.store_size}")


def read_raw(raw: Path, params: Params, project: Project) -> tuple[Dataset, list[RawImage]]:
    """The data set, sorted by image_id and with unknown labels resolved, and what the inventory has of its images.

    The inventory and the tables as they were read are freed on return.
    """
    data = params.data
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
    dataset.notes.update({name: n for name, n in counts.items() if n})
    return replace(dataset, table=table), images


def own_settings(params: Params) -> tuple[object, ...]:
    """The settings that this stage's result follows from."""
    image = params.image
    return params.data, image.store_size, image.channels, image.codec, image.dicom


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


def say_blank(table: DataFrame, dataset: Dataset) -> None:
    """Say and count which of the stored images are blank; their pictures have no digest."""
    blank = table.loc[table["picture"] == "", "path"]
    if len(blank):
        dataset.notes["blank_images"] = len(blank)
        say(
            f"warning: blank images, of one value only: {len(blank):,} (first: {blank.iloc[0]}): nothing is learnt "
            "from them, take them out of the label table"
        )


def say_burned_in(table: DataFrame, dataset: Dataset) -> None:
    """Say and count of how many stored images the DICOM header says that text is burned into the pixels."""
    if n := int(table["burned_in"].sum()):
        dataset.notes["images_with_burned_in_text"] = n
        say(
            f"warning: {n:,} images have text in their pixels (BurnedInAnnotation), perhaps names: it is left in"
        )


def _count(pictures: int) -> str:
    return f"{pictures:,} picture{'' if pictures == 1 else 's'}"


def refuse_unreadable(table: DataFrame, readable: pd.Series, max_unreadable: float, scratch: Path) -> None:
    """Say which images go to quarantine.

    Raises:
        UserError: they are more than the fraction `max_unreadable` of all, or no training image is left.
    """
    bad = table.loc[~readable, QUARANTINE]
    if bad.empty:
        return
    pairs = zip(bad["path"][:3], bad["reason"][:3], strict=True)
    first = "; ".join(f"{path} ({reason})" for path, reason in pairs) + ("; ..." if len(bad) > 3 else "")
    summary = f"{len(bad)} of {len(table)} images cannot be read"
    allowed = int(max_unreadable * len(table) + 1e-9)
    limit = f"data.max_unreadable = {max_unreadable:g} allows {allowed}"
    if not (table["part"][readable] == "train").any():
        limit = "no training image is left"
    elif len(bad) <= allowed:
        return say(f"quarantine: {summary}: {first}")
    listing = scratch / "prepare" / "quarantine.csv"
    write_csv(listing, bad)
    raise UserError(
        f"{summary} and {limit}: {first} (all of them, with reasons: {listing}): replace them or take them out "
        "of the label table, then run `couplet scan`, or raise data.max_unreadable"
    )


def write_tables(
    folder: Path, table: DataFrame, readable: pd.Series, dataset: Dataset, params: Params
) -> None:
    """Write manifest.csv, quarantine.csv, submission_rows.csv and labels.json into `folder`."""
    write_manifest(folder, table[readable], dataset.labels, dataset.group_columns)
    write_csv(folder / HERE.quarantine.name, table.loc[~readable, QUARANTINE])

    is_test = table["part"] == "test"
    wanted = table["image_id"][is_test].tolist() if dataset.submission is None else dataset.submission
    rows = DataFrame({"submission": wanted, "image_id": wanted})
    rows = rows.rename(columns={"submission": dataset.submission_id or "image_id"})
    write_csv(folder / HERE.submission_rows.name, rows)

    image = {
        "store_size": params.image.store_size,
        "channels": params.image.channels,
        "shard_size": SHARD_SIZE,
        "codec": params.image.codec,
    }
    content: dict[str, object] = {
        "source": params.data.source,
        "labels": dataset.labels,
        "image": image,
        "n_images": int(readable.sum()),
        "n_quarantined": int((~readable).sum()),
        "notes": dataset.notes,
        "test_labelled": bool(table.loc[is_test, dataset.labels].notna().to_numpy().any()),
    }
    if dataset.group_columns:
        content["group_columns"] = dataset.group_columns
    if dataset.members:
        content["members"] = dataset.members
    if dataset.submission_columns not in (None, [dataset.submission_id, *dataset.labels]):
        content["submission_columns"] = dataset.submission_columns
    write_json(folder / HERE.labels.name, content)


def remove(folder: Path) -> None:
    """Remove a folder if it is there."""
    if folder.exists():
        shutil.rmtree(folder)
