"""The phantom: drawn by couplet where it is not there, in the layout of Grand X-Ray SLAM's division B.

Its settings draw other patients (seed), another hospital's share of findings (prevalence) or another film, so that
several phantoms differ in what is known to differ. The defaults are those of the preset phantom_large; the committed
run's phantom is smaller.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field, field_validator

from couplet.datasets import grand_xray_slam
from couplet.datasets.base import Dataset, parse_settings
from couplet.project.errors import UserError
from couplet.project.files import read_json
from couplet.settings.schema.messages import suggest

DRAWN = ".drawn.json"  # in the folder: what it was drawn with; hidden, so that no inventory has it
HIGHEST = 0.7  # prevalence: below the share of studies in which anything may be found


class Args(grand_xray_slam.Args):
    """`data.source_args` of phantom."""

    patients: int = Field(800, ge=20, le=1_000_000, description="how many are drawn, about 2.5 images each")
    size: int = Field(112, ge=32, le=1024, description="side of the pictures, in pixels")
    seed: int = Field(42, ge=0, le=2**32 - 1, description="of everything that is drawn")
    film: float = Field(
        1.0, ge=0.1, le=10, description="another film: above 1 pictures are darker, below 1 lighter"
    )
    prevalence: dict[str, float] = Field(
        {}, description="finding: share of images, from 0 to 0.7; the others keep theirs"
    )
    first_patient: int = Field(
        0, ge=0, le=90_000_000, description="patients' numbers are above it: two phantoms shall share none"
    )

    @field_validator("prevalence")
    @classmethod
    def _of_findings(cls, given: dict[str, float]) -> dict[str, float]:
        from couplet.phantom.cohort import LOADINGS

        free = [name for name in LOADINGS if name != "Support Devices"]
        for name, share in given.items():
            if name not in free:
                raise ValueError(
                    f"names {name!r}, which is no finding that can be set: {suggest(name, free)}"
                )
            if not 0 <= share <= HIGHEST:
                raise ValueError(
                    f"{name} = {share:g} is not allowed: it should be a share from 0 to {HIGHEST:g}"
                )
        return given


def read(folder: Path, args: Args, check_files: bool = True) -> Dataset:
    """Read it as Grand X-Ray SLAM.

    Raises:
        UserError: it was drawn with other settings.
    """
    drawn, wanted = _drawn_with(folder), _settings(args)
    for key, value in wanted.items():
        # What it was drawn with is not written down where nothing was set.
        if drawn.get(key, Args.model_fields[key].default) != value:
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

    wanted = _settings(parse_settings(Args, "phantom", source_args))
    changed = {name: value for name, value in wanted.items() if value != Args.model_fields[name].default}
    if "patients" in changed:
        changed["n_patients"] = changed.pop("patients")
    if changed:
        changed["notes"] = {DRAWN: wanted}
    try:
        draw_phantom(folder, **changed)  # type: ignore[arg-type]
    except UserError:
        if (
            not folder.exists()
        ):  # else another process has just drawn it: `read` says whether with these settings
            raise


def _settings(args: Args) -> dict[str, object]:
    """What is drawn with: all but how it is read."""
    return args.model_dump(exclude={"division"})


def _drawn_with(folder: Path) -> dict[str, object]:
    path = folder / DRAWN
    return dict(read_json(path)) if path.exists() else {}
