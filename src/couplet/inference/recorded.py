"""What a model's records say before torch may be imported: where it is, and in which arithmetic it was trained."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from couplet.project.errors import UserError
from couplet.project.files import read_record
from couplet.project.project import HERE, Project
from couplet.results.bundle import AGAIN, CONFIG, is_bundle
from couplet.settings.schema.train import TrainParams

MODELS = Path(*HERE.models.parts)


def project_of(models: Path) -> Project:
    """The project whose data/models this is.

    Raises:
        UserError: it is not there, is no such folder, or holds no trained fold.
    """
    if not models.is_dir():
        raise UserError(
            f"{models} is not there: run `dvc repro` (or `dvc checkout`), or name another --model"
        )
    if models.absolute().parts[-2:] != MODELS.parts:
        raise UserError(f"{models} is no {MODELS} of a project: give that folder as --model")
    project = (
        Project(Path(*models.parts[:-2])) if len(models.parts) > 1 else Project(models.absolute().parents[1])
    )
    if not folds_of(project):
        raise UserError(f"{models} holds no trained fold: run `dvc repro` (or `dvc checkout`)")
    return project


def folds_of(project: Project) -> list[int]:
    """Numbers of the trained folds, ascending."""
    names = (path.name.removeprefix("fold_") for path in project.models.glob("fold_*") if path.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def recorded_train(models: Path) -> TrainParams:
    """The section `train` that the first fold was trained with, of data/models or of an exported bundle.

    Raises:
        UserError: as `project_of`, or the record is damaged.
    """
    if is_bundle(models):
        return _bundled_train(models / CONFIG)
    project = project_of(models)
    path = project.model(folds_of(project)[0]) / "config.json"
    try:
        return TrainParams.model_validate(read_record(path, params=dict)["params"]["train"])
    except (KeyError, ValidationError):
        raise UserError(f"{path} lacks the settings `train`: run `dvc repro` to train again") from None


def _bundled_train(path: Path) -> TrainParams:
    try:
        return TrainParams.model_validate(read_record(path, train=dict)["train"])
    except (UserError, ValidationError):
        raise UserError(f"{path} does not describe a bundle: {AGAIN}, or name another --model") from None
