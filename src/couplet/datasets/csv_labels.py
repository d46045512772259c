"""Which columns of any CSV table are labels: said when they are read, and never guessed from a name of metadata."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from couplet.datasets.base import RESERVED
from couplet.datasets.tables import LABEL_VALUES, Table
from couplet.project.console import say
from couplet.project.errors import UserError

# What the name of a column of 0 and 1 says that holds how the table was made, or who is shown, and nothing of
# findings. Words of files, anywhere in it:
_OF_FILES = frozenset(
    (
        *("dir", "directory", "folder", "path", "file", "filename", "id", "uid"),
        *("pixel", "photometric", "bits"),
    )
)
# Its last word, as in sex_male; in front of another word they tell of findings (Age-related, Frontal opacity).
_AT_THE_END = _OF_FILES | frozenset(
    (
        *("fold", "folds", "split", "subset", "kept", "keep", "used", "included", "excluded"),
        *("train", "training", "test", "val", "valid", "validation"),
        *("age", "sex", "gender", "male", "female", "view", "frontal"),
        *("site", "hospital", "reader", "annotator"),
    )
)
# The whole name, with any of those above: an implanted device is a finding, a device is none.
_ALONE = _AT_THE_END | frozenset(
    (
        *("kfold", "cv", "batch", "set", "phase", "holdout", "dataset", "exclude", "usable", "quality"),
        *("annotated", "device", "ap", "pa", "lateral", "portable", "index"),
    )
)
# These and single letters add nothing to a name: age_over_60, ViewCode, fold_a.
_FILLERS = frozenset(
    (
        *("is", "in", "of", "for", "at", "over", "under", "above", "below"),
        *("code", "number", "name", "type", "group", "flag", "position"),
    )
)
# Words in the name of a column that holds labels as text.
CLASSES = frozenset(
    (
        *("class", "classes", "label", "labels", "finding", "findings", "diagnosis", "diagnoses"),
        *("disease", "diseases", "target"),
    )
)
# What people write for 1 and 0.
BOOLEANS = [
    set(pair.split())
    for pair in ("true false", "yes no", "y n", "t f", "positive negative", "pos neg", "present absent")
]
MANY = 40
NAME_THEM = "name the labels in data.source_args.label_columns"


def label_columns(table: Table, named: Sequence[str], taken: Collection[str], image: str) -> list[str]:
    """Names of the label columns, which are said.

    Args:
        table: the data set's table.
        named: `data.source_args.label_columns`; empty: every column of label values with at least one that is known.
        taken: columns that have a meaning already.
        image: the column of the images.

    Raises:
        UserError: a named column is missing or taken; or none is named and no column holds labels, or one
            that does has a name of metadata: a classifier of the folder would look like any other.
    """
    labels = _named(table, named, taken) if named else _found(table, taken, image)
    more = f" and {len(labels) - MANY} more" if len(labels) > MANY else ""
    say(f"{table.path.name}: {len(labels)} label{'s'[: len(labels) > 1]}: {', '.join(labels[:MANY])}{more}")
    for words, columns in _booleans(table, {*taken, *labels}).items():
        say(f"{table.path.name}: {_hold(columns, words)}, which are no labels: write 1 and 0 to make them so")
    return labels


def _named(table: Table, named: Sequence[str], taken: Collection[str]) -> list[str]:
    labels = list(named)
    table.require(labels, remedy="correct data.source_args.label_columns")
    if others := [name for name in labels if name in taken]:
        raise UserError(
            f"data.source_args.label_columns: {others[0]!r} is there twice or is no label: remove it"
        )
    return labels


def _found(table: Table, taken: Collection[str], image: str) -> list[str]:
    labels, metadata = [], []
    for name in table.columns:
        cells = table.cells[name]
        filled = cells[cells != ""]
        fits = filled.isin(list(LABEL_VALUES))
        if name in taken or filled.empty or not fits.any():
            continue
        if _is_metadata(name) or name.lower() in RESERVED:
            metadata += [name] * bool(fits.all())
        elif fits.all():
            labels.append(name)
        # A label with one typing error must not become a column that is silently not read.
        elif fits.mean() > 0.5:
            row = filled.index[~fits][0]
            raise UserError(
                f"{table.where(row, name)}: {filled[row]!r} is not a label, but most cells of that column "
                f"are: write 1, 0, -1 or nothing, or {NAME_THEM}"
            )
    near = "" if labels else _near_miss(table, {*taken, *metadata}, image)
    if not labels and (near or not metadata):
        raise UserError(
            f"{table.path}, row 1: no column holds labels (1, 0, -1 or nothing){near or f': {NAME_THEM}'}"
        )
    if metadata:
        both = [name for name in table.columns if name in {*labels, *metadata}]
        which_are = (
            f"[{', '.join(both)}] if {_quoted(metadata)} {'is one' if len(metadata) == 1 else 'are some'}"
        )
        without = f", [{', '.join(labels)}] if not" if labels else ""
        perhaps = f" ({which_are}{without})" if len(both) <= MANY else ""
        it = "the column" if len(metadata) == 1 else "the columns"
        which = f"column {metadata[0]!r} holds" if len(metadata) == 1 else f"columns {_quoted(metadata)} hold"
        raise UserError(
            f"{table.path}, row 1: {which} labels (1, 0, -1 or nothing) but by name metadata: {NAME_THEM}{perhaps}, or "
            f"take {it} out of the table"
        )
    return labels


def _near_miss(table: Table, taken: Collection[str], image: str) -> str:
    """What a table without labels holds instead, and what to do; empty if nothing is like labels."""
    for words, columns in _booleans(table, taken).items():
        return f", but {_hold(columns, words)}: write 1 and 0 instead"
    for name in table.columns:
        cells = table.cells[name]
        # Numbers of classes are no names: column class_id stands beside class_name.
        if name in taken or CLASSES.isdisjoint(_words(name)) or not cells.str.contains(r"[^\W\d]").any():
            continue
        if table.cells[image].duplicated().any():
            return (
                f", but several rows per image and names in column {name!r}: make one row per image and a column of "
                "1 and 0 for each name, 1 where any of its rows has it"
            )
        if cells.str.contains(r"[|;,\[]").any():
            return f", but column {name!r} holds lists of names: make a column of 1 and 0 for each name"
        names = cells[cells != ""].unique()
        some = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
        return f", but column {name!r} holds names ({some}): make a column of 1 and 0 for each name"
    return ""


def _booleans(table: Table, taken: Collection[str]) -> dict[str, list[str]]:
    """Columns of nothing but one pair of words for 1 and 0: the words -> names of the columns that hold them."""
    found: dict[str, list[str]] = {}
    for name in [name for name in table.columns if name not in taken]:
        values = sorted({*table.cells[name].unique()} - {""})
        plain = {value.lower() for value in values[:5]}
        # One letter alone may mean anything.
        if any(plain <= pair for pair in BOOLEANS) and (len(plain) == 2 or len("".join(plain)) > 1):
            found.setdefault(" and ".join(values), []).append(name)
    return found


def _hold(columns: list[str], words: str) -> str:
    return (
        f"column {columns[0]!r} holds {words}"
        if len(columns) == 1
        else f"columns {_quoted(columns)} hold {words}"
    )


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names))


def _is_metadata(name: str) -> bool:
    words = _words(name)
    telling = {word for word in words if len(word) > 1} - _FILLERS
    return bool(telling) and (
        not _OF_FILES.isdisjoint(words)
        or words[-1] in _AT_THE_END
        or telling <= _ALONE
        or "".join(words) in _ALONE
    )


def _words(name: str) -> list[str]:
    """The words of a column's name in lower case: ImageDir -> image, dir."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
