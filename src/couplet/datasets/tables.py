"""Label tables: CSV files read as text, with every mistake named by file, row, column and remedy.

Rows are named by their line in the file (the header is line 1), which is what an editor shows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pandas import DataFrame, Index, Series

from couplet.datasets.csv_text import check_header, read_header, read_rows
from couplet.datasets.names import check_names
from couplet.project.console import say
from couplet.project.errors import UserError
from couplet.settings.schema.messages import suggest

LABEL_VALUES = {"0": 0.0, "0.0": 0.0, "1": 1.0, "1.0": 1.0, "-1": -1.0, "-1.0": -1.0, "": np.nan}
NO_TABLES = (".txt", ".tsv", ".xls", ".xlsx", ".ods", ".parquet")
VALIDATION = ("validate", "validation", "valid", "val")
POLICIES = {"ignore": np.nan, "zeros": 0.0, "ones": 1.0}


@dataclass(frozen=True)
class Table:
    """A CSV file as text; `cells` is indexed by the line of each row. Nameless columns are dropped."""

    path: Path
    cells: DataFrame

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in file order."""
        return [str(name) for name in self.cells.columns]

    def where(self, row: int, column: str) -> str:
        """The place of a cell, as messages name it."""
        return f"{self.path}, row {row}, column {column!r}"

    def place(self, column: str) -> Callable[[int], str]:
        """`where` for one column, as the image checks take it."""
        return partial(self.where, column=column)

    def say_unread(self, used: Collection[str]) -> None:
        """Say which columns are not `used`: a label must not go missing in silence."""
        if left := [name for name in self.columns if name not in used]:
            say(f"{self.path.name}: columns that are not read: {', '.join(left)}")

    def require(self, columns: Collection[str], remedy: str = "add it to the header") -> None:
        """Raise a UserError unless every one of `columns` is in the header."""
        if missing := [name for name in columns if name not in self.columns]:
            near = suggest(missing[0], self.columns)
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise UserError(
                f"{self.path}, row 1: column {missing[0]!r}{more} is missing: {remedy}; in the header {near}"
            )

    def text(self, column: str) -> Series:
        """A column of names (see `check_names`), empty cells included; all empty if the table does not have it."""
        if column not in self.columns:
            return Series("", index=self.cells.index, dtype=str)
        check_names(self.cells[column], self.place(column))
        return self.cells[column]

    def filled(self, column: str) -> Series:
        """A column of names in which no cell may be empty."""
        values = self.text(column)
        for row in values.index[values == ""][:1]:
            raise UserError(f"{self.where(row, column)}: the cell is empty: fill it or take the row out")
        return values

    def unique(self, column: str) -> Series:
        """A column of ids: no cell is empty and no value comes twice."""
        values = self.filled(column)
        for row in values.index[values.duplicated()][:1]:
            first = values.index[values == values[row]][0]
            raise UserError(
                f"{self.where(row, column)}: {values[row]!r} is already in row {first}: take one of them out"
            )
        return values

    def one_of(self, column: str, allowed: Collection[str]) -> Series:
        """A column whose cells must be among `allowed`."""
        values = self.cells[column]
        for row in values.index[~values.isin(list(allowed))][:1]:
            names = ", ".join(sorted(allowed))
            raise UserError(f"{self.where(row, column)}: {values[row]!r} is not one of {names}: correct it")
        return values

    def parts(self, column: str) -> Series:
        """A column of `train` and `test`; the parts of VALIDATION are said and count as `train`."""
        values = self.one_of(column, ("train", "test", *VALIDATION))
        for name, n in values[values.isin(VALIDATION)].value_counts(sort=False).items():
            rows = "1 row of the part {!r} counts" if n == 1 else f"{n:,} rows of the part {{!r}} count"
            say(f"{self.path.name}: {rows.format(name)} as train: couplet makes its own folds")
        return values.mask(values.isin(VALIDATION), "train")

    def label_values(self, columns: Sequence[str]) -> DataFrame:
        """Label columns as float64: 1, 0, -1 (uncertain), NaN (blank)."""
        cells = self.cells[list(columns)]
        bad = cells.apply(lambda column: ~column.isin(list(LABEL_VALUES)))
        for row in cells.index[bad.any(axis=1)][:1]:
            column = str(bad.columns[bad.loc[row]][0])
            raise UserError(
                f"{self.where(row, column)}: {cells.at[row, column]!r} is not a label: "
                "write 1, 0, -1 (uncertain) or nothing (unknown)"
            )
        values = {name: cells[name].map(LABEL_VALUES).astype("float64") for name in columns}
        return DataFrame(values, index=cells.index)


def read_raw_table(path: Path, required: Collection[str] = ()) -> Table:
    """Read a CSV file (UTF-8 with or without BOM, any line ends, .gz too), all cells as stripped text.

    Raises:
        UserError: it is missing, is not UTF-8 or not comma-separated, has no rows, has a column twice or a
            row of another length than the header, or lacks one of the `required` columns.
    """
    rows = read_rows(path)
    header = check_header(path, next(rows, (1, []))[1])
    lines: list[int] = []
    columns: list[list[str]] = [[] for _ in header]
    seen: dict[str, str] = {}  # equal cells share one string
    for line, row in rows:
        # An empty cell after a trailing comma is no cell; anything else means that columns have shifted.
        if len(row) < len(header) or any(row[len(header) :]):
            raise UserError(
                f"{path}, row {line}: {len(row)} cells, but the header has {len(header)} columns: "
                "complete the row, or quote the cell that holds a comma"
            )
        lines.append(line)
        for column, cell in zip(columns, row, strict=False):
            column.append(seen.setdefault(cell, cell))
    if not lines:
        raise UserError(f"{path} has no rows below its header: check that the file is complete")
    for position, (name, column) in enumerate(zip(header, columns, strict=True), start=1):
        if not name and any(column):
            say(f"{path.name}: column {position} has no name and is not read")
    named = {name: column for name, column in zip(header, columns, strict=True) if name}
    table = Table(path, DataFrame(named, index=Index(lines, name="line"), dtype=str))
    table.require(required)
    return table


def find_table(
    folder: Path,
    names: Sequence[str],
    columns: Collection[str] = (),
    *,
    not_these: Collection[str] = (),
    remedy: str = "keep the label table and take the others out",
) -> Path:
    """The label table of a data set: the first of `names` that is there, else the only other CSV that fits.

    That is the only *.csv at the top of `folder` whose header has all of `columns`, `not_these` left out.

    Raises:
        UserError: none or several fit; what was looked for is listed, with `remedy`.
    """
    for name in names:
        if (folder / name).exists():
            return folder / name
    fits, problems = [], []
    for path in sorted(folder.glob("*.csv")):
        if path.is_file() and not path.name.startswith(".") and path.name not in not_these:
            try:
                header = check_header(path, read_header(path))
            except UserError as error:
                problems.append(error)
                continue
            if set(columns) <= set(header):
                fits.append(path)
    if len(fits) == 1:
        return fits[0]
    if fits:
        found = ", ".join(path.name for path in fits)
        raise UserError(f"{folder}: several tables fit ({found}): {remedy}")
    if problems:
        raise problems[0]
    described = f"with the columns {', '.join(columns)}" if columns else "with labels"
    looked = " or ".join([*names, f"one *.csv {described}"])
    others = sorted(path.name for path in folder.glob("[!.]*") if path.suffix.lower() in NO_TABLES)
    near = (
        f", found {', '.join(others)} (save a table as CSV with a header)" if others and not columns else ""
    )
    raise UserError(f"{folder} has no label table; looked for {looked}{near}: {remedy}")


def resolve_unknown(
    frame: DataFrame,
    labels: Sequence[str],
    uncertain: str | Mapping[str, str] = "ignore",
    unmentioned: str = "ignore",
) -> DataFrame:
    """Give -1 (uncertain) and blank label cells their meaning: `ignore` -> NaN, `zeros` -> 0, `ones` -> 1.

    A mapping gives single labels their own policy for -1; the others are ignored. Test images whose labels are
    hidden (`hidden_rows`) stay unknown.

    Args:
        frame: `Dataset.table`.
        labels: the data set's.
        uncertain: the meaning of -1, for all labels or by label.
        unmentioned: the meaning of a blank cell.

    Raises:
        UserError: `uncertain` names a label that the data set does not have.

    >>> frame = DataFrame({"part": "train", "row": [2, 3, 0], "Edema": [-1.0, np.nan, np.nan]})
    >>> resolve_unknown(frame, ["Edema"], uncertain="ones", unmentioned="zeros")["Edema"].tolist()
    [1.0, 0.0, nan]
    """
    policies = dict(uncertain) if isinstance(uncertain, Mapping) else dict.fromkeys(labels, uncertain)
    for name in policies:
        if name not in labels:
            raise UserError(f"data.uncertain names the unknown label {name!r}: {suggest(name, labels)}")
    values = frame[list(labels)]
    listed = ~hidden_rows(frame, labels)[:, None]
    resolved = values.mask(values.isna() & listed, POLICIES[unmentioned])
    for name in labels:
        resolved[name] = resolved[name].mask(values[name] == -1, POLICIES[policies.get(name, "ignore")])
    return frame.assign(**{name: resolved[name] for name in labels})


def hidden_rows(frame: DataFrame, labels: Sequence[str]) -> np.ndarray:
    """(N,) whether the labels of an image are not published: no label file lists it, or a test row is all blank.

    A blank cell beside known ones is a finding that nobody mentions; a test row without any label has been left out.
    """
    blank = frame[list(labels)].isna().all(axis=1)
    return (blank & ((frame["row"] == 0) | (frame["part"] == "test"))).to_numpy()
