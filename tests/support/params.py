"""Settings changed by dotted keys, as `dvc exp run -S` names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from couplet.settings.params import Params, parse_params


def set_dotted(content: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Set values in nested mappings, which are changed and returned; a missing section is made.

    >>> set_dotted({"seed": 1, "refiner": {"alpha": 0.1}}, {"refiner.enabled": False})
    {'seed': 1, 'refiner': {'alpha': 0.1, 'enabled': False}}
    """
    for dotted, value in changes.items():
        *sections, key = dotted.split(".")
        inside = content
        for section in sections:
            inside = inside.setdefault(section, {})
        inside[key] = value
    return content


def params_with(changes: Mapping[str, Any]) -> Params:
    """Validated settings: the defaults with changes."""
    return parse_params(set_dotted(Params().as_dict(), changes), "params.yaml")


def change_params(folder: Path, changes: Mapping[str, Any]) -> None:
    """Change the params.yaml of a project: {"refiner.enabled": False}. Nothing is validated."""
    path = folder / "params.yaml"
    content = set_dotted(yaml.safe_load(path.read_text()), changes)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
