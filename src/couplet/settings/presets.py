"""Presets: what each changes against another preset or the schema's defaults, and params.yaml written from one."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from couplet.project.errors import UserError
from couplet.project.project import HERE, Project
from couplet.settings.params import OPEN_MAPPINGS, Params, flatten, parse_params
from couplet.settings.schema.loss import LossParams
from couplet.settings.schema.messages import not_allowed
from couplet.settings.schema.model import ModelParams
from couplet.settings.schema.plugins import PLUG_INS
from couplet.settings.schema.section import Section
from couplet.settings.yaml12 import read_settings
from couplet.settings.yaml_text import block, flow

BASE = "base"  # the key of a preset that names the preset it starts from


def preset_names(project: Project = HERE) -> list[str]:
    """Names of the presets in this checkout, sorted."""
    return sorted(path.stem for path in project.presets.glob("*.yaml"))


def load_preset(name: str, project: Project = HERE) -> Params:
    """presets/<name>.yaml merged over the preset that its key `base` names, or over the schema's defaults.

    Raises:
        UserError: there is no such preset, its bases lead back to itself, or it is not valid.
    """
    return _load(name, (), project)


def keep(preset: Params, now: Params, keys: Sequence[str], origin: str) -> Params:
    """A preset's settings, but some as they are now: another recipe on the same data, at the same size.

    Args:
        preset: gives all settings that `keys` do not name, and the preset's name.
        now: gives the others.
        keys: sections, or dotted keys: ("data", "image.size").
        origin: names the result in errors.

    Raises:
        UserError: no such section or key, or what is kept does not fit the preset's other settings.
    """
    content, kept = preset.as_dict(), now.as_dict()
    known = [*(name for name, value in content.items() if isinstance(value, dict)), *flatten(content)]
    known.remove("preset")
    for key in keys:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "docs/presets.md lists them"
            raise UserError(f"--keep {key}: params.yaml has no such section or setting: {hint}")
        *sections, last = key.split(".")
        inside, theirs = content, kept
        for section in sections:
            inside, theirs = inside[section], theirs[section]
        inside[last] = theirs[last]
    return parse_params(content, origin)


def _load(name: str, above: tuple[str, ...], project: Project) -> Params:
    # `above`: the presets that this one is a base of.
    _refuse_unknown(name, project)
    path = project.presets / f"{name}.yaml"
    changes = read_settings(path)
    start = Params()
    if BASE in changes:
        start = _base(changes.pop(BASE), (*above, name), project)
    return parse_params(_merge(start.as_dict(), changes) | {"preset": name}, str(path))


def _base(base: Any, above: tuple[str, ...], project: Project) -> Params:
    path = project.presets / f"{above[-1]}.yaml"
    if not isinstance(base, str):
        raise UserError(f"{path}: {BASE} {not_allowed(base, 'the name of a preset')}")
    if base in above:
        circle = " -> ".join([*above[above.index(base) :], base])
        raise UserError(f"{path}: {BASE} = {base!r} leads in a circle, {circle}: take one of these bases out")
    _refuse_unknown(base, project, f"{path}: {BASE} = {base!r}: ")
    return _load(base, above, project)


def _refuse_unknown(name: str, project: Project, where: str = "") -> None:
    if name not in preset_names(project):
        close = difflib.get_close_matches(name, preset_names(project), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(preset_names(project))}"
        raise UserError(f"{where}no preset {name!r} in {project.presets}/: {hint}")


def _merge(base: dict[str, Any], changes: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    # A plug-in's settings start from {} where another plug-in is chosen: they would be the other one's.
    merged = dict(base)
    for kind in PLUG_INS:
        (section, choice), (_, args) = kind.chosen_by.split("."), kind.args.split(".")
        if prefix == f"{section}." and changes.get(choice, base[choice]) != base[choice]:
            merged[args] = {}
    plug_in_args = {kind.args for kind in PLUG_INS}
    for key, value in changes.items():
        name, below = prefix + key, merged.get(key)
        if not (isinstance(value, dict) and isinstance(below, dict)):
            merged[key] = value
        elif name in plug_in_args:
            merged[key] = below | value
        else:
            merged[key] = value if name in OPEN_MAPPINGS else _merge(below, value, f"{name}.")
    return merged


def differences_from_preset(params: Params, project: Project = HERE) -> list[tuple[str, Any, Any]]:
    """What differs from the preset that params.yaml names: (key, the preset's value, this run's value)."""
    try:
        theirs = flatten(load_preset(params.preset, project).as_dict())
    except UserError as error:
        raise UserError(f"{project.params}: preset = {params.preset!r}: {error}") from None
    ours = flatten(params.as_dict())
    return [found for key in ours for found in _differences(key, theirs[key], ours[key])]


def _differences(key: str, theirs: Any, ours: Any) -> Iterator[tuple[str, Any, Any]]:
    # Settings of the same plug-in are compared one by one.
    is_plug_in = key in {kind.args for kind in PLUG_INS}
    if is_plug_in and theirs.keys() == ours.keys():
        for name in ours:
            yield from _differences(f"{key}.{name}", theirs[name], ours[name])
    elif theirs != ours:
        yield key, theirs, ours


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
            lines.append(f"{name}: {flow(value)}  # {field.description}")
    return "\n".join(lines) + "\n"


def _section_lines(section: Section, indent: str) -> list[str]:
    lines = []
    for name, field in type(section).model_fields.items():
        key, value, note = field.alias or name, getattr(section, name), f"# {field.description}"
        inner = value if isinstance(value, Section) else _plug_in(section, name)
        if inner and value:
            lines += [f"{indent}{key}:  {note}", *_section_lines(inner, indent + "  ")]
        elif isinstance(value, dict | list) and value:
            lines += [f"{indent}{key}:  {note}", *(f"{indent}  {line}" for line in block(value))]
        else:
            lines.append(f"{indent}{key}: {flow(value)}  {note}")
    return lines


def _plug_in(section: Section, name: str) -> Section | None:
    # The class that describes what a mapping of a plug-in's own settings holds.
    if isinstance(section, ModelParams) and name == "head_args":
        return section.head_settings
    return section.settings if isinstance(section, LossParams) and name == "args" else None
