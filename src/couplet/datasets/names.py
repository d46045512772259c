"""What names in a data set may look like: labels, image ids, and whatever else lands in tables that people open.

Ids must stay what the data set says (its submission needs them), so a dangerous name is refused and not changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pandas import Series

from couplet.project.errors import UserError

# Control characters, line and paragraph separators, what turns the direction of writing, halves of characters.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# How a cell starts that spreadsheet programs run as a formula: also after a semicolon, which separates cells where
# the comma is the decimal sign. Numbers with a sign and mere dashes are none.
_FORMULA = re.compile(
    r"(?:^|;)\s*(?:[=@\uff1d\uff20]|[+\-\uff0b\uff0d](?!(?:-*|\d*\.?\d*(?:[eE][+-]?\d+)?)(?:;|$)))"
)


def is_formula(name: str) -> bool:
    """Whether a spreadsheet program would run a cell of that text."""
    return bool(_FORMULA.search(name))


def check_names(names: Series, where: Callable[[Any], str]) -> None:
    """Check text that couplet writes into its own tables, reports and messages.

    Args:
        names: text, with the index of the table it stands in.
        where: names the place for an index value, for messages.

    Raises:
        UserError: a name holds control characters, or would be a formula in a spreadsheet.

    >>> check_names(Series(["Edema", "-1", "-", "a = b", "ü (2)"]), str)
    >>> check_names(Series(["Edema", "=1+1"]), lambda row: f"row {row}")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    couplet.project.errors.UserError: row 1: '=1+1' would be a formula in a spreadsheet: rename it, ...
    """
    once = names.drop_duplicates()  # the first of each: sexes, views and ages come a million times
    # Python's own expressions: pandas hands a pattern to pyarrow where that is installed, whose kind is another.
    for row, name in zip(once.index, once.to_numpy(), strict=True):
        if _UNPRINTABLE.search(name):
            raise UserError(
                f"{where(row)}: {name!r} holds control characters: rename it, with printable ones only"
            )
        if is_formula(name):
            raise UserError(
                f"{where(row)}: {name!r} would be a formula in a spreadsheet: rename it, without = + - or @ in front"
            )
