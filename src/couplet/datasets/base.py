"""What every adapter gives - one table of images with labels - and the checks that hold for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
from pandas import DataFrame, Series

from couplet.datasets.tables import resolve_unknown
from couplet.project.errors import UserError
from couplet.settings.schema.sources import Policy

# The columns of Dataset.table before the labels.
META = ("image_id", "part", "patient_id", "study_id", "view", "sex", "age", "path", "row")
# Names that a label must not have: it shares tables with these columns later.
RESERVED = frozenset(
    {*META, "width", "height", "shard", "picture", "reason", "fold", "source", "view_position", "burned_in"}
)


@dataclass(frozen=True)
class Dataset:
    """A data set as its labels and one row per image, in the order of the data set's own files.

    Attributes:
        labels: names of the L labels, in the data set's order.
        table: N rows. image_id (unique), part (`train` or `test`), patient_id, study_id, view, sex, age
            (text, empty where unknown), path (posix, relative to the raw folder), row (line in the label file
            whose header is 1; 0 if none), the `group_columns` (text), then a float column per label: 1, 0, -1
            (uncertain) or NaN (blank).
        group_columns: names of further columns whose values are groups of images, for `report.groups`.
        members: of several data sets in one, the name of each and its source. In their table -1 and blank have their
            meaning already: NaN is what a member does not know.
        submission_id: name of the id column of the data set's own submission format, if it has one.
        submission: image ids of the submission, in its row order.
        submission_columns: its id column and the labels in its column order; None: the id, then the labels as here.
        notes: counts worth keeping, for example of images that the data set's own rules leave out.
        external: nothing is trained on it; all of its images are in the part `test`.
    """

    labels: list[str]
    table: DataFrame
    submission_id: str | None = None
    submission: list[str] | None = None
    submission_columns: list[str] | None = None
    notes: dict[str, int] = field(default_factory=dict)
    group_columns: list[str] = field(default_factory=list)
    members: dict[str, str] = field(default_factory=dict)
    external: bool = False

    def __post_init__(self) -> None:
        columns = [*META, *self.group_columns, *self.labels]
        if list(self.table.columns) != columns:
            raise ValueError(f"columns must be {columns}, not {list(self.table.columns)}")
        if not self.labels:
            raise UserError("the data set has no labels: a classifier needs at least one")
        if clash := [name for name in self.labels if name in RESERVED]:
            raise UserError(
                f"label {clash[0]!r} has the name of another column of the manifest: rename that label"
            )
        if not self.external and not (self.table["part"] == "train").any():
            raise UserError("the data set has no training images: every image is in the test part, move some")

    def known(self, uncertain: Policy | Mapping[str, Policy], unmentioned: Policy) -> DataFrame:
        """The table with 1, 0 or NaN as labels: what -1 and blank mean is `data.uncertain` and `data.unmentioned`.

        Members have their own of both, and are known already.

        Raises:
            UserError: `uncertain` names an unknown label.
        """
        return (
            self.table if self.members else resolve_unknown(self.table, self.labels, uncertain, unmentioned)
        )

    @property
    def test_labelled(self) -> bool:
        """Whether any test image has a known label."""
        test = self.table.loc[self.table["part"] == "test", self.labels]
        return bool(test.notna().to_numpy().any())


def image_table(
    labels: DataFrame,
    *,
    image_id: Series,
    part: Series | str,
    patient_id: Series,
    path: Series,
    study_id: Series | str = "",
    view: Series | str = "",
    sex: Series | str = "",
    age: Series | str = "",
    row: Series | int | None = None,
) -> DataFrame:
    """Put one part of Dataset.table together; all series share the index of `labels`.

    `row` is that index unless it is given: label tables are indexed by the line in their file.
    """
    rows = labels.index.to_series() if row is None else row
    meta = {
        "image_id": image_id,
        "part": part,
        "patient_id": patient_id,
        "study_id": study_id,
        "view": view,
        "sex": sex,
        "age": age,
        "path": path,
        "row": rows,
    }
    table = DataFrame(meta, index=labels.index)
    return pd.concat([table, labels.astype("float64")], axis=1).reset_index(drop=True)
