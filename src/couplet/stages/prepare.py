"""Stage prepare: raw images and label tables -> packed stores, their manifests and lists of quarantine.

data/prepared is what the run is trained and tested on; data/external is the external test, empty without one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pandas import DataFrame

from couplet.datasets.base import Dataset
from couplet.datasets.raw import RawSet, read_raw, read_raw_external
from couplet.datasets.registry import body_parts
from couplet.datasets.words import in_common_words, in_words_of
from couplet.images.decoding.packing import SHARD_SIZE, Outcome, Packing
from couplet.project.console import progress, say
from couplet.project.errors import UserError
from couplet.project.files import write_csv, write_json
from couplet.project.project import HERE, Project
from couplet.results.manifest import write_manifest
from couplet.results.weights import refuse_unlisted_weights
from couplet.running.stale import refuse_stale_folds
from couplet.running.workspace import workspace
from couplet.settings.params import Params, load_params
from couplet.settings.source_args import refuse_wrong_source_args

QUARANTINE = ["image_id", "part", "path", "reason"]


def prepare() -> None:
    """Decode every image of the data set and of the external test once, and write data/prepared and data/external.

    Both or nothing. An external test leaves the bytes of the run's data as they are: one that is added to a finished
    run decodes its own images and trains nothing. It takes the run's words for sexes and views, and nothing else of it.

    Raises:
        UserError: an adapter's setting is wrong, the raw data is not what data/inventory.json says, its labels are
            wrong, or more of its images than data.max_unreadable allows cannot be read.
    """
    project = Project()
    params = load_params(project.params)
    refuse_wrong_source_args(params.data)  # those of the external test too, before anything is read
    refuse_unlisted_weights(params.model, project)  # hours before train_fold would
    refuse_stale_folds(params.split.folds, project)
    run = read_raw(params, project)
    say_read(run)
    external = read_raw_external(params, run.dataset, project)
    with (
        decoded(run, project.prepared, "", params, project) as ours,
        decoded(external, project.external, "external-", params, project, ours) as theirs,
    ):
        if own_settings(load_params(project.params)) != own_settings(params):
            raise UserError(
                f"{project.params} changed while prepare ran, so nothing was written: run `dvc repro` again"
            )
        for one in (ours, theirs):
            one.put_together(params)
        for one in (ours, theirs):
            remove(one.place)
            one.unfinished.rename(one.place)
    for one in (ours, theirs):
        if one.raw.images:
            say(
                f"{one.place}: {one.readable.sum()} images of {params.image.store_size} x {params.image.store_size}"
            )


@dataclass(frozen=True)
class Decoded:
    """A data set whose images are decoded: its table with what became of each, and where it shall be."""

    raw: RawSet
    packing: Packing
    table: DataFrame
    readable: pd.Series
    place: Path

    @property
    def unfinished(self) -> Path:
        """A folder beside its place, so that it can be there whole or not at all."""
        return self.place.with_name(f"{self.place.name}.unfinished")

    def put_together(self, params: Params) -> None:
        """Write the store and its tables into that folder."""
        remove(self.unfinished)
        self.packing.link_into(self.unfinished)
        write_tables(self.unfinished, self.table, self.readable, self.raw, params)


@contextmanager
def decoded(
    raw: RawSet, place: Path, name: str, params: Params, project: Project, run: Decoded | None = None
) -> Iterator[Decoded]:
    """A data set, decoded into scratch. Nobody else works on it until the block is left.

    `name` sets its finished shards apart from another data set's. `run` is what an external test is compared with: its
    sexes and views are written in the run's words.

    Raises:
        UserError: a file is not the one of the inventory, or too many cannot be read.
    """
    dataset, image = raw.dataset, params.image
    table = dataset.table.drop(columns="row")
    with workspace("prepare", f"{name}{raw.source}-{image.store_size}x{image.channels}", project) as scratch:
        packing = Packing(
            raw.folder,
            raw.images,
            scratch,
            image.store_size,
            image.channels,
            SHARD_SIZE,
            image.codec,
            image.dicom,
            body_parts(raw.source, *dataset.members.values()),
        )
        outcomes = list(progress(packing.run(), f"decoding {raw.source}", len(table)))
        table = pd.concat([table, DataFrame(outcomes, columns=list(Outcome._fields))], axis=1)
        table["view"] = table["view"].mask(table["view"] == "", table["view_position"])
        table = in_one_set_of_words(table, raw, run)
        readable = table["reason"] == ""
        refuse_unreadable(table, readable, params.data.max_unreadable, project.scratch, dataset.external)
        say_blank(table[readable], dataset)
        say_burned_in(table[readable], dataset)
        yield Decoded(raw, packing, table, readable, place)
        packing.forget_others()


def in_one_set_of_words(table: DataFrame, raw: RawSet, run: Decoded | None) -> DataFrame:
    """The table with sexes and views in the words that it shall have: views of DICOM headers are known only now."""
    if raw.dataset.members:
        table = in_common_words(table, raw.source)
    if run is not None:  # of what the run is trained on, which its prediction sets are made of
        table = in_words_of(
            run.table[run.readable & (run.table["part"] == "train")], table, f"external: {raw.source}"
        )
    return table


def say_read(raw: RawSet) -> None:
    """Say what was read."""
    dataset = raw.dataset
    notes = "".join(f", {name.replace('_', ' ')}: {count}" for name, count in dataset.notes.items())
    say(f"{raw.source}: {len(dataset.table)} images, {len(dataset.labels)} labels{notes}")


def own_settings(params: Params) -> tuple[object, ...]:
    """The settings that this stage's result follows from."""
    image = params.image
    return params.data, image.store_size, image.channels, image.codec, image.dicom


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


def refuse_unreadable(
    table: DataFrame, readable: pd.Series, max_unreadable: float, scratch: Path, external: bool
) -> None:
    """Say which images go to quarantine.

    Raises:
        UserError: they are more than the fraction `max_unreadable` of all, or no image is left to train on (or, of an
            external test, to test on).
    """
    bad = table.loc[~readable, QUARANTINE]
    if bad.empty:
        return
    pairs = zip(bad["path"][:3], bad["reason"][:3], strict=True)
    first = "; ".join(f"{path} ({reason})" for path, reason in pairs) + ("; ..." if len(bad) > 3 else "")
    summary = f"{len(bad)} of {len(table)} images cannot be read"
    allowed = int(max_unreadable * len(table) + 1e-9)
    limit = f"data.max_unreadable = {max_unreadable:g} allows {allowed}"
    if not (table["part"][readable] == ("test" if external else "train")).any():
        limit = f"no {'image of the external test' if external else 'training image'} is left"
    elif len(bad) <= allowed:
        return say(f"quarantine: {summary}: {first}")
    listing = scratch / "prepare" / "quarantine.csv"
    write_csv(listing, bad)
    raise UserError(
        f"{summary} and {limit}: {first} (all of them, with reasons: {listing}): replace them or take them out "
        "of the label table, then run `couplet scan`, or raise data.max_unreadable"
    )


def write_tables(folder: Path, table: DataFrame, readable: pd.Series, raw: RawSet, params: Params) -> None:
    """Write manifest.csv, quarantine.csv, labels.json, and of the run's data submission_rows.csv into `folder`."""
    dataset = raw.dataset
    write_manifest(folder, table[readable], dataset.labels, dataset.group_columns)
    write_csv(folder / HERE.quarantine.name, table.loc[~readable, QUARANTINE])

    is_test = table["part"] == "test"
    if not dataset.external:
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
        "source": raw.source,
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
    write_json(folder / HERE.labels.name, content | raw.about)


def remove(folder: Path) -> None:
    """Remove a folder if it is there."""
    if folder.exists():
        shutil.rmtree(folder)
