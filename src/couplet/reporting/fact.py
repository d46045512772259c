"""A line of the report's first screen."""

from __future__ import annotations

from typing import NamedTuple

from couplet.evaluation.estimate import Estimate


class Fact(NamedTuple):
    """One line of the first screen.

    Attributes:
        name: what it is about.
        value: the answer in a few words.
        detail: what it means; `quoted` words are code.
        attention: whether a reader must know it before quoting a number.
        estimates: numbers that it rests on, each with its name.
    """

    name: str
    value: str
    detail: str = ""
    attention: bool = False
    estimates: tuple[tuple[str, Estimate], ...] = ()
