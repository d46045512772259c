"""Values as YAML text that a reader of YAML 1.1 (PyYAML) and one of YAML 1.2 (ours, DVC's) read alike."""

from __future__ import annotations

import re
from typing import Any

import yaml

# Text that begins like a number, a date or a sign, and words that some reader takes for a switch or for nothing.
_READ_AS_OTHER = re.compile(
    r"[-+.0-9~=<].*|_*[0-9].*|y|n|yes|no|on|off|true|false|null", re.IGNORECASE | re.DOTALL
)
_LINE_ENDS = re.compile("[\n\r\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    """Quotes more than PyYAML does, which asks only YAML 1.1: "1e3" is text there and a number in YAML 1.2."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Within double quotes a line end is written \n, and everything stays on one line.
    style = '"' if _LINE_ENDS.search(text) else "'" if _READ_AS_OTHER.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def block(value: Any) -> list[str]:
    """A mapping or list in block style, by line; an empty one as {} or [].

    >>> block({"table": "1e3", "parts": ["a", "no"]})
    ["table: '1e3'", 'parts:', '- a', "- 'no'"]
    """
    return _dumped(value, default_flow_style=False).splitlines()


def flow(value: Any) -> str:
    """Any value on one line.

    >>> flow({"table": "08"}), flow("x{}"), flow(2e-4)
    ("{table: '08'}", 'x{}', '0.0002')
    """
    return _dumped(value, default_flow_style=True).removesuffix("\n...")


def _dumped(value: Any, default_flow_style: bool) -> str:
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
        default_flow_style=default_flow_style,
    ).removesuffix("\n")
