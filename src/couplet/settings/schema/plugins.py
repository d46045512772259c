"""Heads, losses and data sets are plug-ins: a file in couplet.settings.heads, .losses or .sources has one's settings.

Its class `Settings` has that plug-in's own settings, for example `model.head_args`. A new file makes its name known:
nothing lists the names. The class is imported when a run names it, so that nobody depends on the others' code.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from couplet.settings import heads, losses, sources
from couplet.settings.schema.messages import not_allowed, one_of, suggest, what_is_wrong
from couplet.settings.schema.section import Section


@dataclass(frozen=True)
class PlugIns:
    """One kind of plug-in.

    Attributes:
        chosen_by: the setting that names the plug-in, for example model.head.
        args: the setting that holds the plug-in's own settings, for example model.head_args.
        package: where there is one module per plug-in.
    """

    chosen_by: str
    args: str
    package: ModuleType

    def names(self) -> list[str]:
        """Every plug-in's name, sorted."""
        return sorted(module.name for module in pkgutil.iter_modules(self.package.__path__))

    def module(self, name: str) -> ModuleType:
        """The module that holds the settings of the plug-in `name`, one of `names`."""
        return importlib.import_module(f"{self.package.__name__}.{name}")

    def settings(self, name: str) -> type[Section]:
        """The class of the own settings of the plug-in `name`, one of `names`."""
        found: type[Section] = self.module(name).Settings
        return found

    def own_keys(self) -> list[str]:
        """Dotted keys of every plug-in's own settings.

        >>> LOSSES.own_keys()[:4]
        ['loss.args.gamma_pos', 'loss.args.gamma_neg', 'loss.args.clip', 'loss.args.pos_weight']
        """
        keys = [f"{self.args}.{key}" for name in self.names() for key in _keys(self.settings(name))]
        return list(dict.fromkeys(keys))

    def known(self, name: Any) -> Any:
        """`name` if there is such a plug-in.

        Raises:
            ValueError: there is none; in the words of every other setting's message.
        """
        if name not in self.names():
            raise ValueError(f"{self.chosen_by} {not_allowed(name, one_of(self.names()))}")
        return name

    def complete(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """All settings of the plug-in `name`: the given ones, and the defaults of the others.

        >>> LOSSES.complete("asl", {"gamma_neg": 2})
        {'gamma_pos': 0.0, 'gamma_neg': 2.0, 'clip': 0.05}

        Raises:
            ValueError: one line on the first key that it does not have, or value that it does not allow.
        """
        settings = self.settings(name)
        allowed = _keys(settings)
        for key in given:
            if key not in allowed:
                remedy = f"; take it out, on the command line with -S '~{self.args}'"
                misspelled = difflib.get_close_matches(key, allowed, n=1)
                raise ValueError(
                    f"unknown key {self.args}.{key} for {self.chosen_by} = {name}: "
                    f"{suggest(key, allowed)}{'' if misspelled else remedy}"
                )
        try:
            return settings.model_validate(given).model_dump(by_alias=True)
        except ValidationError as error:
            problem: dict[str, Any] = dict(error.errors()[0])
            if problem["type"] == "value_error":
                raise ValueError(str(problem["ctx"]["error"])) from None
            key = ".".join(map(str, problem["loc"]))
            raise ValueError(f"{self.args}.{key} {what_is_wrong(problem)}") from None


def _keys(settings: type[Section]) -> list[str]:
    return [field.alias or name for name, field in settings.model_fields.items()]


HEADS = PlugIns("model.head", "model.head_args", heads)
LOSSES = PlugIns("loss.name", "loss.args", losses)
PLUG_INS = (HEADS, LOSSES)  # whose settings are validated and completed wherever params.yaml is read
# Validated by `couplet.settings.source_args` alone: a stage that reads no data set imports none of them.
SOURCES = PlugIns("data.source", "data.source_args", sources)
