"""The columns of the manifest whose values are subgroups, beside sex, age and view."""

from __future__ import annotations

from collections.abc import Iterable

from couplet.project.errors import UserError
from couplet.results.manifest import Manifest

SIZES = ("width", "height")  # of the original picture: what is left of the device where nothing else is


def refuse_unknown_groups(manifest: Manifest, names: Iterable[str]) -> None:
    """Raise a UserError where `report.groups` names what is no group of images, as an id or a label."""
    columns = [*manifest.group_columns, *(name for name in SIZES if name in manifest.table)]
    for name in names:
        if name not in columns:
            raise UserError(
                f"{manifest.project.params}: report.groups names {name!r}, which is no column of groups in "
                f"{manifest.project.manifest}: name some of {', '.join(columns)}, keep more columns of a csv table "
                "by data.source_args.group_columns, or leave it empty"
            )
