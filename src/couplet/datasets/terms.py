"""Findings that a table lists as terms - names, or paths such as Opacity/lung/base - made columns of 0 and 1.

A label stands for one or several terms: for a finding and its more specific names, of which a report has only one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from pandas import DataFrame, Series

from couplet.datasets.names import check_names
from couplet.project.errors import UserError

SETTING = "data.source_args.labels"
_NEAREST = 5


def read_terms(cells: Series, parse: Callable[[str, Any], Iterable[str]]) -> Series:
    """The terms of each row, as a frozenset in lower case with single blanks, without empty ones.

    Args:
        cells: text; cells that are equal are read once.
        parse: gives the terms of a cell; its second argument is the first row that has that cell, for messages.
    """
    firsts = cells.drop_duplicates()
    known = {
        cell: frozenset(" ".join(term.lower().split()) for term in parse(cell, row)) - {""}
        for row, cell in firsts.items()
    }
    return Series([known[cell] for cell in cells], index=cells.index, dtype=object)


def label_columns(terms: Series, labels: Mapping[str, Sequence[str]]) -> DataFrame:
    """A float column for each of `labels`: 1 where a row has one of its terms or a path below one, else 0.

    >>> rows = Series([frozenset(["opacity/lung/base"]), frozenset(["normal"])])
    >>> label_columns(rows, {"Opacity": ["Opacity/lung", "Density"]})["Opacity"].tolist()
    [1.0, 0.0]
    """
    wanted = [{term.lower() for term in names} for names in labels.values()]
    marks = {
        term: np.array([not names.isdisjoint(_with_starts(term)) for names in wanted], dtype=float)
        for term in frozenset().union(*terms)
    }
    # Many rows have the same terms: each combination is read once.
    none = np.zeros(len(labels))
    by_terms = {row: np.maximum.reduce([none, *(marks[term] for term in row)]) for row in set(terms)}
    rows = [by_terms[row] for row in terms]
    return DataFrame(np.array(rows).reshape(len(rows), len(labels)), index=terms.index, columns=list(labels))


def check_terms(labels: Mapping[str, Sequence[str]], terms: Series, where: str) -> None:
    """Check labels that a user chose against the terms that are there.

    Raises:
        UserError: a term is in no row (the nearest are named), or a name is none that a table may have.
    """
    check_names(Series(list(labels), dtype=str), lambda _: SETTING)
    known = sorted({start for term in frozenset().union(*terms) for start in _with_starts(term)})
    for name in chain.from_iterable(labels.values()):
        if name.lower() not in known:
            near = ", ".join(difflib.get_close_matches(name.lower(), known, n=_NEAREST, cutoff=0.0))
            raise UserError(
                f"{SETTING}: no image of {where} has {name!r}: correct it (nearest: {near}) or take it out"
            )


def _with_starts(term: str) -> list[str]:
    """A path and all that it lies below: a/b/c, a/b, a."""
    parts = term.split("/")
    return ["/".join(parts[:depth]) for depth in range(len(parts), 0, -1)]
