"""Outputs of folds that split.folds no longer lists: found, refused by name, removed by `couplet prune`."""

from __future__ import annotations

from pathlib import Path

from couplet.project.errors import UserError
from couplet.project.project import HERE, Project


def stale_fold_outputs(folds: list[int], project: Project = HERE) -> list[Path]:
    """Paths of outputs of other folds than `folds`, sorted.

    DVC leaves them behind when the fold list shrinks, and they would enter the hash of the folders above them.
    """
    wanted = {path for fold in folds for path in _outputs(str(fold), project)}
    found = {path for pattern in _outputs("*", project) for path in pattern.parent.glob(pattern.name)}
    return sorted(found - wanted)


def _outputs(fold: str, project: Project) -> list[Path]:
    return [
        project.model(fold),
        project.fold_predictions(fold),
        project.test_predictions(fold),
        project.explanations(fold),
        project.fold_metrics(fold),
        project.per_label(fold),
        project.history(fold),
    ]


def refuse_stale_folds(folds: list[int], project: Project = HERE) -> None:
    """Raise a UserError naming the left-over outputs, if there are any."""
    stale = stale_fold_outputs(folds, project)
    if stale:
        more = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
        raise UserError(
            f"{stale[0]}{more} belongs to a fold that split.folds = {folds} does not have: run `couplet prune`, "
            "then `dvc repro`"
        )
