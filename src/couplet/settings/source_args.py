"""The settings of a data set's adapter, which stand below `data.source_args`: validated without its data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, ValidationError
from pydantic_core import PydanticCustomError

from couplet.project.errors import UserError
from couplet.settings.schema.data import DataParams
from couplet.settings.schema.external import ExternalParams
from couplet.settings.schema.messages import location, meant, suggest, what_is_wrong
from couplet.settings.schema.plugins import SOURCES
from couplet.settings.schema.section import Section

SettingsT = TypeVar("SettingsT", bound=Section)


def refuse_wrong_source_args(data: DataParams, origin: str = "") -> None:
    """Refuse settings that the adapters of the data set and of the external test do not have, or not of that value.

    `load_params` does not look at them: every stage calls it, and only the one that reads the data set depends on what
    adapters there are. Whoever looks at params.yaml as a whole, or is about to read that data, asks here first.

    Args:
        data: the settings.
        origin: where they were read, to be named in the message; default: in params.yaml, where every key is.

    Raises:
        UserError: as `source_settings`, with the key as params.yaml has it; or `data.uncertain` or `data.unmentioned`
            is set for combined, whose members have their own: it would also make up labels that a member does not
            know.
    """
    try:
        _refuse_wrong(data)
        if data.external.given:
            with keys_below("data.external"):
                _refuse_wrong(data.external)
    except UserError as error:
        raise UserError(f"{origin}: {error}" if origin else str(error)) from None


def _refuse_wrong(data: DataParams | ExternalParams) -> None:
    members = getattr(source_settings(data.source, data.source_args), "members", {})
    for key, value in (("uncertain", data.uncertain), ("unmentioned", data.unmentioned)):
        if members and value not in ("ignore", {}):
            raise UserError(
                f"data.{key} must be ignore where several sets are combined: set "
                f"data.source_args.members.{next(iter(members))}.{key}, and that of the others, instead"
            )


def source_settings(source: str, source_args: dict[str, Any]) -> Section:
    """The settings of the adapter of `source`, of its own class; those of combined with the settings of each member.

    Raises:
        UserError: there is no such adapter, or as `parse_settings`.
    """
    if source not in SOURCES.names():
        raise UserError(f"unknown data.source {source!r}: {suggest(source, SOURCES.names())}")
    return parse_settings(SOURCES.settings(source), source, source_args)


def parse_settings(
    model: type[SettingsT], source: str, source_args: dict[str, Any], place: str = "data.source_args"
) -> SettingsT:
    """Validate `data.source_args` for the adapter of `source`, or settings that stand in another `place`.

    Raises:
        UserError: an unknown key (the nearest and all allowed ones are named), or a value of the wrong kind.
    """
    allowed = list(model.model_fields)
    for key in source_args:
        if key not in allowed:
            raise UserError(f"unknown key {place}.{key} for data.source: {source}: {suggest(key, allowed)}")
    try:
        return model.model_validate(source_args)
    except ValidationError as error:
        problem = meant(error)[0]
        said = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else what_is_wrong(problem)
        raise UserError(f"{place}.{'.'.join(location(problem))} {said}") from None


@contextmanager
def keys_below(place: str) -> Iterator[None]:
    """Messages of an adapter name its settings where those of this data set stand, and not as `data.source_args`."""
    try:
        yield
    except UserError as error:
        ours = re.sub(r"\bdata\.(?=(?:source_args|source|uncertain|unmentioned)\b)", f"{place}.", str(error))
        raise UserError(ours) from None


def _as_groups(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {name: [name] for name in value}
    if not isinstance(value, dict):
        raise PydanticCustomError("label_terms", "a list of names, or labels with a list of names for each")
    return value


def _each_with_terms(labels: dict[str, list[str]]) -> dict[str, list[str]]:
    for label, terms in labels.items():
        if not terms:
            raise UserError(
                f"data.source_args.labels: {label!r} has no terms: name one or more, or take it out"
            )
    return labels


# label -> its terms, one or more; a list of terms in params.yaml is a label for each.
LabelTerms = Annotated[dict[str, list[str]], BeforeValidator(_as_groups), AfterValidator(_each_with_terms)]
