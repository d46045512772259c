"""What is wrong with settings, in one line: the key, its value, what is allowed, the nearest valid key."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

_SHORT = reprlib.Repr()  # of values in messages
_SHORT.maxstring = _SHORT.maxother = 100


def one_line(error: ValidationError, schema: type[BaseModel], known_keys: Sequence[str]) -> str:
    """Describe the first problem of `error`, and count the others.

    Args:
        error: what pydantic says of settings that `schema` was to validate.
        schema: its fields are what is allowed.
        known_keys: dotted keys, one of which may have been meant by an unknown one.
    """
    problems = meant(error)
    # An unknown key comes first: other errors may follow from the misspelling.
    problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
    lines = list(dict.fromkeys(_describe(problem, schema, known_keys) for problem in problems))
    return lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def meant(error: ValidationError) -> list[dict[str, Any]]:
    """The problems of `error`, without those of the branch of a union that was not meant."""
    return [dict(problem) for problem in error.errors() if not _other_branch(dict(problem))]


def location(problem: dict[str, Any]) -> list[str]:
    """The keys that lead to a value; a union adds its member's name, only real keys are given."""
    return [str(part) for part in problem["loc"] if not str(part).startswith(("literal[", "dict[", "[key]"))]


def _other_branch(problem: dict[str, Any]) -> bool:
    # A union of one word and a mapping reports why the value is neither; one of the two was meant.
    branch = str(problem["loc"][-1]) if problem["loc"] else ""  # of settings of several sections: no place
    given_mapping = isinstance(problem["input"], dict)
    return branch.startswith("literal[" if given_mapping else "dict[")


def _describe(problem: dict[str, Any], schema: type[BaseModel], known_keys: Sequence[str]) -> str:
    keys = location(problem)
    key = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}: {_nearest(keys, schema, known_keys)}"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if problem["type"] == "invalid_key" or problem["loc"][-1] == "[key]":
        return f"the key {key} is not allowed: a key should be text"
    return f"{key} {what_is_wrong(problem)}"


def what_is_wrong(problem: dict[str, Any]) -> str:
    """The value that pydantic refuses, and what it should be: for any schema's messages."""
    expected = problem["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    if expected.startswith("dictionary"):
        expected = "keys with values"
    if problem["type"] == "string_pattern_mismatch":
        expected = f"text that matches {problem['ctx']['pattern']}"
    expected = {
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number",
        "string": "text",
        "list": "a list",
    }.get(expected, expected)
    return not_allowed(problem["input"], expected)


def not_allowed(value: Any, expected: str) -> str:
    """The value, shortened, and what it should be.

    >>> not_allowed("focal", one_of(["asl", "bce"]))
    "= 'focal' is not allowed: it should be 'asl' or 'bce'"
    """
    shown = "nothing" if value is None else _SHORT.repr(value)
    return f"= {shown} is not allowed: it should be {expected}"


def one_of(names: Sequence[str]) -> str:
    """Names as a sentence lists them.

    >>> one_of(["db_dgcn", "gmp", "linear"])
    "'db_dgcn', 'gmp' or 'linear'"
    """
    *most, last = map(repr, names)
    return f"{', '.join(most)} or {last}" if most else last


def suggest(name: str, allowed: Iterable[str]) -> str:
    """Name what is allowed, and the nearest to `name` first.

    >>> suggest("tabel", ["table", "image_folder"])
    "did you mean 'table'? (allowed: table, image_folder)"
    >>> suggest("x", [])
    'nothing is allowed here'
    """
    options = list(allowed)
    if not options:
        return "nothing is allowed here"
    close = difflib.get_close_matches(name, options, n=1)
    names = ", ".join(options)
    return f"did you mean {close[0]!r}? (allowed: {names})" if close else f"allowed: {names}"


def _nearest(keys: list[str], schema: type[BaseModel], known_keys: Sequence[str]) -> str:
    section = schema
    for name in keys[:-1]:
        section = section.model_fields[name].annotation  # type: ignore[assignment]
    prefix = "".join(f"{name}." for name in keys[:-1])
    siblings = [prefix + (field.alias or name) for name, field in section.model_fields.items()]
    key = ".".join(keys)
    elsewhere = [full for full in known_keys if full.split(".")[-1] == keys[-1]]
    close = elsewhere or difflib.get_close_matches(key, [*siblings, *known_keys], n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else f"allowed here: {', '.join(siblings)}"
