"""Reading params.yaml, presets and DVC's own files as YAML 1.2, as DVC reads them, with plain values only."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from couplet.project.errors import UserError
from couplet.project.files import refuse_conflict


class _Yaml12Loader(yaml.SafeLoader):
    """YAML 1.2's core schema over PyYAML, as DVC reads it: `no` is a string, 2e-4 and 010 (ten) are numbers."""

    # Nothing but the core schema's kinds: no dates, sets or binary data, whatever a tag says.
    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (None, *(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "float", "str", "seq")))
    }


class _SettingsLoader(_Yaml12Loader):
    """Without aliases: a few hundred bytes of them can stand for more values than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, f"the alias *{event.anchor} is not allowed: write its value out", event.start_mark
            )
        return super().compose_node(parent, index)


_Yaml12Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Yaml12Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))


def _construct_int(loader: _Yaml12Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text)


def _construct_mapping(loader: _Yaml12Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: list[Any] = []
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is there twice: remove one of them", key_node.start_mark
            )
        seen.append(key)
    return loader.construct_mapping(node, deep=True)


_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


# A stage reads params.yaml five times and dvc.yaml three times, to see whether they changed.
@functools.lru_cache(maxsize=8)
def _parsed(text: str, aliases: bool) -> Any:
    return yaml.load(text, Loader=_Yaml12Loader if aliases else _SettingsLoader)  # both a SafeLoader


def read_yaml(path: Path, aliases: bool = True) -> dict[str, Any]:
    """Read a YAML 1.2 file whose top level is a mapping; `aliases`: whether it may hold them.

    Raises:
        UserError: the file is missing, is not YAML, holds a merge conflict, has a key twice or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        refuse_conflict(path, text)
        content = copy.deepcopy(_parsed(text, aliases))  # the caller's own to change
    except FileNotFoundError:
        raise UserError(f"{path} is not there: run this in the project's root folder") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it holds characters that YAML does not allow"
        remedy = "" if ": " in problem else ": correct it, or restore the file from git"
        raise UserError(f"{path}{where}: {problem}{remedy}") from None
    except (ValueError, KeyError):  # an explicit tag on something else, or a number of thousands of digits
        raise UserError(f"{path} holds a number or switch that cannot be read: restore it from git") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply: restore it from git") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise UserError(f"{path} must hold keys and values, not {found}: see docs/presets.md")
    return content


def read_settings(path: Path) -> dict[str, Any]:
    """`read_yaml` for params.yaml and presets: without aliases."""
    return read_yaml(path, aliases=False)
