"""Where a data set's raw files are; what the project draws itself is drawn if it is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from couplet.datasets.folder import OF_MEMBERS, require_folder
from couplet.datasets.phantom import draw_missing
from couplet.project.project import HERE, Project


def raw_folder(
    source: str, project: Project = HERE, source_args: dict[str, Any] | None = None, name: str = ""
) -> Path:
    """The raw folder of a data set; the phantom, which the project draws itself, is drawn if it is not there.

    Args:
        source: its adapter.
        project: whose raw data it is.
        source_args: what a phantom is drawn with, or the members of a combined set, among which there may be some.
        name: of the folder in data/raw; default: as the source.

    Raises:
        UserError: the folder is not there.
    """
    folder = project.raw(name or source)
    if source == "phantom":
        draw_missing(folder, source_args or {})
    require_folder(source, folder)
    if source in OF_MEMBERS:
        for member, settings in phantoms_among(source_args or {}):
            draw_missing(folder / member, settings)
    return folder


def phantoms_among(source_args: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and settings of the members of a combined set that the project draws itself."""
    members = source_args.get("members")
    for name, member in (members if isinstance(members, dict) else {}).items():
        if isinstance(member, dict) and member.get("source", name) == "phantom":
            given = member.get("source_args", {})
            if isinstance(given, dict):  # else the adapter says what is wrong
                yield name, given
