"""The phantom: drawn by couplet where it is not there, in the layout of Grand X-Ray SLAM's division B.

Its settings draw other patients (seed), another hospital's share of findings (prevalence) or another film, so that
several phantoms differ in what is known to differ. The defaults are those of the preset phantom_large; the committed
run's phantom is smaller.
"""

from __future__ import annotations

import json
from pathlib import Path

from couplet.datasets import grand_xray_slam
from couplet.datasets.base import Dataset
from couplet.project.errors import UserError
from couplet.project.files import read_json
from couplet.settings.source_args import parse_settings
from couplet.settings.sources.phantom import Settings

DRAWN = ".drawn.json"  # in the folder: what it was drawn with; hidden, so that no inventory has it


def read(folder: Path, args: Settings, check_files: bool = True) -> Dataset:
    """Read it as Grand X-Ray SLAM.

    Raises:
        UserError: it was drawn with other settings.
    """
    drawn, wanted = _drawn_with(folder), _settings(args)
    for key, value in wanted.items():
        # What it was drawn with is not written down where nothing was set.
        if drawn.get(key, Settings.model_fields[key].default) != value:
            raise UserError(
                f"{folder} was not drawn with data.source_args.{key} = {json.dumps(value)}: remove the folder to have "
                "it drawn again, or set that back"
            )
    return grand_xray_slam.read(folder, args, check_files)


def draw_missing(folder: Path, source_args: dict[str, object]) -> None:
    """Draw it into `folder`, unless something is there.

    Raises:
        UserError: a setting is wrong, or it cannot be drawn.
    """
    if folder.exists() or folder.is_symlink():
        return
    from couplet.phantom.drawing import draw_phantom

    wanted = _settings(parse_settings(Settings, "phantom", source_args))
    changed = {name: value for name, value in wanted.items() if value != Settings.model_fields[name].default}
    if "patients" in changed:
        changed["n_patients"] = changed.pop("patients")
    if changed:
        changed["notes"] = {DRAWN: wanted}
    try:
        draw_phantom(folder, **changed)  # type: ignore[arg-type]
    except UserError:
        # Where the folder is there, another process has just drawn it: `read` says whether with these settings.
        if not folder.exists():
            raise


def _settings(args: Settings) -> dict[str, object]:
    """What is drawn with: all but how it is read."""
    return args.model_dump(exclude={"division"})


def _drawn_with(folder: Path) -> dict[str, object]:
    path = folder / DRAWN
    return dict(read_json(path)) if path.exists() else {}
