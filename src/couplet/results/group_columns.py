"""The columns of the manifest whose values are subgroups, beside sex, age and view."""

from __future__ import annotations

from collections.abc import Iterable

from couplet.project.errors import UserError
from couplet.results.manifest import Manifest


def refuse_unknown_groups(manifest: Manifest, names: Iterable[str]) -> None:
    """Raise a UserError where `report.groups` names what is no column of the manifest, or a label."""
    columns = [str(name) for name in manifest.table if name not in manifest.labels and name != "image_id"]
    for name in names:
        if name not in columns:
            raise UserError(
                f"{manifest.project.params}: report.groups names {name!r}, which is no column of "
                f"{manifest.project.manifest}: name some of {', '.join(columns)}, or leave it empty"
            )
