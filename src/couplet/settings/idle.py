"""Settings that somebody has set and that cannot change anything under the others, for `couplet check`."""

from __future__ import annotations

from typing import Any

from couplet.settings.params import Params
from couplet.settings.schema.plugins import PLUG_INS


def idle_lines(params: Params, preset: Params) -> list[str]:
    """A line for each setting of `params` that does nothing, section by section.

    Defaults, and values that the preset has too, are never complained about: the ablation without the refiner is one
    key, whatever the refiner's others are.
    """
    ours, theirs, default = params.as_dict(), preset.as_dict(), _defaults(params)
    return [
        idle.why
        for idle in params.idle()
        if any(_value(ours, key) != _value(theirs, key) for key in idle.keys)
        and any(_value(ours, key) != _value(default, key) for key in idle.keys)
    ]


def _defaults(params: Params) -> dict[str, Any]:
    """The schema's defaults, with those of the head and the loss that `params` has chosen."""
    chosen, default = params.as_dict(), Params().as_dict()
    for kind in PLUG_INS:
        section, args = kind.args.split(".")
        default[section][args] = kind.complete(_value(chosen, kind.chosen_by), {})
    return default


def _value(content: dict[str, Any], dotted: str) -> Any:
    """The setting's value; None where another plug-in is chosen, which does not have it."""
    found: Any = content
    for key in dotted.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found
