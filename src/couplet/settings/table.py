"""The tables of settings in docs/presets.md, out of the schema. Written by: python -m couplet.settings.table"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from couplet.project.files import write_text
from couplet.settings.params import Params, flatten
from couplet.settings.schema.plugins import HEADS, LOSSES, PLUG_INS, PlugIns
from couplet.settings.schema.section import Section
from couplet.settings.yaml_text import flow

PAGE = Path("docs/presets.md")
BEGIN = "<!-- written by python -m couplet.settings.table: change the schema, then run it -->"
END = "<!-- end of what python -m couplet.settings.table writes -->"
Row = tuple[str, ...]


def main() -> None:
    """Write the tables between their two marks in docs/presets.md."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    write_text(PAGE, before + block() + rest.split(END)[1])


def block() -> str:
    """What stands between the marks, marks included."""
    parts = [BEGIN, *_table(("key", "default", "allowed", "meaning", "source"), settings_rows(Params))]
    for title, kind in (("heads", HEADS), ("losses", LOSSES)):
        columns = (kind.chosen_by, f"key of `{kind.args}`", "default", "allowed", "meaning", "source")
        parts += [f"### Settings of {title}", *_table(columns, plug_in_rows(kind))]
    return "\n".join([*parts, END])


def settings_rows(schema: type[Section]) -> list[Row]:
    """(key, default, allowed, meaning, source) of each setting, in the schema's order."""
    return list(_rows(schema.model_json_schema(by_alias=True)))


def plug_in_rows(kind: PlugIns) -> list[Row]:
    """(plug-in, key, default, allowed, meaning, source): what each is, then its own settings."""
    rows: list[Row] = []
    for name in kind.names():
        about = (kind.module(name).__doc__ or "").splitlines()[0].rstrip(".")
        rows.append((f"`{name}`", "", "", "", about, ""))
        rows += [("", *row) for row in settings_rows(kind.settings(name))]
    return rows


def allowed(node: dict[str, Any]) -> str:
    """What a part of the JSON schema lets through, in words.

    >>> allowed({"type": "number", "minimum": 0, "exclusiveMaximum": 1}), allowed({"enum": ["asl", "bce"]})
    ('0 to below 1', 'asl, bce')
    >>> allowed({"type": "integer", "minimum": 1}), allowed({"type": "number", "exclusiveMinimum": 0})
    ('whole number, from 1', 'number, above 0')
    """
    if "enum" in node:
        return ", ".join(map(str, node["enum"]))
    if "anyOf" in node:
        return "; or ".join(allowed(branch) for branch in node["anyOf"])
    kind = node["type"]
    if kind == "boolean":
        return "true, false"
    if kind == "string":
        return f"text: `{node['pattern']}`" if "pattern" in node else "text"
    if kind == "array":
        return f"list, each a {allowed(node['items'])}"
    if kind == "object":
        values = node.get("additionalProperties")
        return f"mapping to one of {allowed(values)}" if isinstance(values, dict) else "mapping"
    return _range(node)


def _range(node: dict[str, Any]) -> str:
    word = {"integer": "whole number", "number": "number"}[node["type"]]
    low = f"above {node['exclusiveMinimum']}" if "exclusiveMinimum" in node else node.get("minimum")
    high = f"below {node['exclusiveMaximum']}" if "exclusiveMaximum" in node else node.get("maximum")
    if low is None or high is None:
        start = low if isinstance(low, str) else f"from {low}"
        return word if low is None else f"{word}, {start}"
    return f"whole number, {low} to {high}" if node["type"] == "integer" else f"{low} to {high}"


def _rows(schema: dict[str, Any], node: dict[str, Any] | None = None, prefix: str = "") -> Iterator[Row]:
    # The JSON schema does not know that these are completed.
    defaults = {kind.args: flatten(Params().as_dict())[kind.args] for kind in PLUG_INS}
    for name, found in (node or schema).get("properties", {}).items():
        key = prefix + name
        if "$ref" in found:
            yield from _rows(schema, schema["$defs"][found["$ref"].split("/")[-1]], f"{key}.")
            continue
        is_plug_in = key in defaults
        may_be = "see the table below" if is_plug_in else allowed(found)
        default = flow(defaults[key] if is_plug_in else found["default"])
        yield f"`{key}`", f"`{default}`", may_be, found["description"], found.get("source", "")


def _table(columns: Row, rows: list[Row]) -> list[str]:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return ["", *("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines), ""]


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|").replace("<", r"\<")


if __name__ == "__main__":
    main()
