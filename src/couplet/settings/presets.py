"""Presets: what each changes against the schema's defaults, and how params.yaml is written from one."""

from __future__ import annotations

import difflib
from typing import Any

import yaml

from couplet.project import paths
from couplet.project.errors import UserError
from couplet.settings.params import OPEN_MAPPINGS, Params, Section, flatten, parse_params, read_settings


def preset_names() -> list[str]:
    """Names of the presets in this checkout, sorted."""
    return sorted(path.stem for path in paths.PRESETS.glob("*.yaml"))


def load_preset(name: str) -> Params:
    """The schema's defaults with presets/<name>.yaml merged over them.

    Raises:
        UserError: there is no such preset, or it is not valid.
    """
    path = paths.PRESETS / f"{name}.yaml"
    if name not in preset_names():
        close = difflib.get_close_matches(name, preset_names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(preset_names())}"
        raise UserError(f"no preset {name!r} in {paths.PRESETS}/: {hint}")
    return parse_params(_merge(Params().as_dict(), read_settings(path)) | {"preset": name}, str(path))


def _merge(base: dict[str, Any], changes: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        is_section = isinstance(value, dict) and isinstance(base.get(key), dict)
        if is_section and prefix + key not in OPEN_MAPPINGS:
            merged[key] = _merge(base[key], value, f"{prefix}{key}.")
        else:
            merged[key] = value
    return merged


def differences_from_preset(params: Params) -> list[tuple[str, Any, Any]]:
    """What differs from the preset that params.yaml names: (key, the preset's value, this run's value)."""
    try:
        theirs = flatten(load_preset(params.preset).as_dict())
    except UserError as error:
        raise UserError(f"{paths.PARAMS}: preset = {params.preset!r}: {error}") from None
    ours = flatten(params.as_dict())
    return [(key, theirs[key], value) for key, value in ours.items() if theirs[key] != value]


# --- writing -----------------------------------------------------------------------------------------------


def params_yaml(params: Params) -> str:
    """The text of params.yaml: block style, no nulls, each setting with its meaning beside it."""
    lines = [
        f"# Every setting of the pipeline (docs/presets.md). `couplet preset {params.preset}` wrote this."
    ]
    for name, field in Params.model_fields.items():
        value = getattr(params, name)
        if isinstance(value, Section):
            lines += ["", f"{name}:", *_section_lines(value, "  ")]
        else:
            lines.append(f"{_entry(name, value)}  # {field.description}")
    return "\n".join(lines) + "\n"


def _section_lines(section: Section, indent: str) -> list[str]:
    lines = []
    for name, field in type(section).model_fields.items():
        key, value, note = field.alias or name, getattr(section, name), f"# {field.description}"
        if isinstance(value, Section):
            lines += [f"{indent}{key}:  {note}", *_section_lines(value, indent + "  ")]
        elif isinstance(value, dict | list) and value:
            block = yaml.safe_dump(value, sort_keys=False, default_flow_style=False, allow_unicode=True)
            lines += [f"{indent}{key}:  {note}", *(f"{indent}  {line}" for line in block.splitlines())]
        else:
            lines.append(f"{indent}{_entry(key, value)}  {note}")
    return lines


def _entry(key: str, value: Any) -> str:
    return (
        yaml.safe_dump({key: value}, allow_unicode=True).strip().strip("{}")
        if value != {}
        else f"{key}: {{}}"
    )
