"""What a data set holds, before anybody trains on it: images, patients, views, labels, and what may go wrong.

`couplet scan` prints it. Nothing is decoded: it is made of the label tables and the inventory. N images, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from couplet.datasets.base import Dataset
from couplet.datasets.inventory import Inventory
from couplet.settings.schema.data import DataParams

MANY_LABELS = 40
# A compressed X-ray of 512 x 512 pixels takes tens of kilobytes: below this a file is a thumbnail or a broken download.
SMALL_FILE = 2000


@dataclass(frozen=True)
class Overview:
    """The counts.

    Attributes:
        source: the data set.
        parts: a row per part (`train`, `test`) that has images: images, patients, studies.
        views: images of each view, most frequent first; "unknown" where none is given.
        labels: a row per label, in the data set's order. Of the training images, what -1 and blank mean applied:
            positives, negatives, unknown, share (positives of the known; NaN if none is). Of the test part:
            positives_test (NaN if none of its cells is known).
        truth: (N, L) of the training images: 1, 0 or NaN.
        endings: listed images by the ending of their files.
        sizes: (5,) bytes of the image files: smallest, quartiles, largest.
        notes: counts, by what they are of: what the data set's own rules say, and what asks for a look.
    """

    source: str
    parts: DataFrame
    views: Series
    labels: DataFrame
    truth: np.ndarray
    endings: Series
    sizes: np.ndarray
    notes: dict[str, int]

    def lines(self) -> Iterator[str]:
        """The overview as text of at most 100 columns."""
        for part, row in self.parts.iterrows():
            yield f"{part}: {row['images']:,} images, {row['patients']:,} patients, {row['studies']:,} studies"
        yield "views: " + ", ".join(f"{view} {count:,}" for view, count in self.views.items())
        low, _, middle, _, high = (f"{size / 1e3:,.0f}" for size in self.sizes)
        kinds = ", ".join(f"{ending} {count:,}" for ending, count in self.endings.items())
        yield f"files: {kinds}; {low} to {high} kB, median {middle}"
        width = max(len("label"), *map(len, self.labels.index[:MANY_LABELS]))
        width = min(width, 40)
        yield f"{'label':{width}}  positive  negative   unknown  share   test"
        for label, row in self.labels[:MANY_LABELS].iterrows():
            share = "-" if np.isnan(row["share"]) else f"{row['share']:.1%}"
            counts = (f"{row[name]:>10,.0f}" for name in ("negatives", "unknown"))
            test = "-" if np.isnan(row["positives_test"]) else f"{row['positives_test']:,.0f}"
            yield f"{str(label)[:width]:{width}}{row['positives']:>10,.0f}{''.join(counts)}  {share:>5}{test:>7}"
        if len(self.labels) > MANY_LABELS:
            yield f"... and {len(self.labels) - MANY_LABELS} more labels"
        for name, count in self.notes.items():
            yield f"{name.replace('_', ' ')}: {count:,}"


def overview(dataset: Dataset, inventory: Inventory, data: DataParams) -> Overview:
    """Count what is there.

    Args:
        dataset: as its adapter read it.
        inventory: of its raw folder.
        data: what -1 and blank cells mean.

    Raises:
        UserError: `data.uncertain` or `data.unmentioned` does not suit the data set (`Dataset.known`).
    """
    labels = dataset.labels
    table = dataset.known(data.uncertain, data.unmentioned)
    files = inventory.files.set_index("path").reindex(table["path"])
    sizes = files["size"].fillna(0).to_numpy(np.float64)
    views = table["view"].where(table["view"] != "", "unknown").value_counts()
    endings = table["path"].str.lower().str.extract(r"(\.[^./]*)$")[0].fillna("no ending").value_counts()
    return Overview(
        source=inventory.source,
        parts=_parts(table),
        views=views,
        labels=_labels(table, labels),
        truth=table.loc[table["part"] == "train", labels].to_numpy(np.float64),
        endings=endings,
        sizes=np.quantile(sizes, [0, 0.25, 0.5, 0.75, 1], method="lower"),
        notes=dataset.notes | _notes(files, sizes, table),
    )


def _parts(table: DataFrame) -> DataFrame:
    """An image without a patient or a study is one of its own."""
    own = table["image_id"]
    patients = table["patient_id"].where(table["patient_id"] != "", own)
    studies = table["study_id"].where(table["study_id"] != "", own)
    counted = DataFrame({"part": table["part"], "patients": patients, "studies": patients + "\n" + studies})
    groups = counted.groupby("part", sort=False)
    parts = pd.concat([groups.size().rename("images"), groups.nunique()], axis=1)
    return parts.reindex([part for part in ("train", "test") if part in parts.index])


def _labels(table: DataFrame, labels: list[str]) -> DataFrame:
    train, test = (table.loc[table["part"] == part, labels] for part in ("train", "test"))
    positives, negatives = (train == 1).sum(), (train == 0).sum()
    known = positives + negatives
    return DataFrame(
        {
            "positives": positives,
            "negatives": negatives,
            "unknown": len(train) - known,
            "share": (positives / known).where(known > 0),
            "positives_test": (test == 1).sum().where(test.notna().any()),
        },
        index=pd.Index(labels, name="label"),
    )


def _notes(files: DataFrame, sizes: np.ndarray, table: DataFrame) -> dict[str, int]:
    md5 = files["md5"].to_numpy()[sizes > 0]
    train = table[table["part"] == "train"]
    counts = {
        "empty_files": int((sizes == 0).sum()),
        f"files_below_{SMALL_FILE}_bytes": int(((sizes > 0) & (sizes < SMALL_FILE)).sum()),
        "images_with_identical_files": int(Series(md5).duplicated(keep=False).sum()),
        "training_images_without_patient": int((train["patient_id"] == "").sum()),
    }
    return {name: count for name, count in counts.items() if count}
