"""Outputs of folds that split.folds no longer lists: found, refused by name, removed by `couplet prune`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from couplet.project.errors import UserError
from couplet.project.project import HERE, Project


def stale_fold_outputs(folds: list[int], project: Project = HERE) -> list[Path]:
    """Paths of outputs of other folds than `folds`, sorted.

    DVC leaves them behind when the fold list shrinks, and they would enter the hash of the folders above them.
    Only what a stage writes counts, by name and kind: `fold_3.json`, never `fold_3_backup` or `fold_notes.json`.
    """
    wanted = {path for fold in folds for path in _outputs(str(fold), project)}
    found = {
        path
        for pattern in _outputs("*", project)
        for path in pattern.parent.glob(pattern.name)
        # A number as Python writes it: no stage writes fold_03.
        if re.fullmatch(r"fold_(0|[1-9][0-9]*)", path.name.removesuffix(pattern.suffix))
        and path.is_dir() == (pattern == project.model("*"))
    }
    return sorted(found - wanted)


def _outputs(fold: str, project: Project) -> list[Path]:
    return [
        project.model(fold),
        project.fold_predictions(fold),
        project.test_predictions(fold),
        project.external_predictions(fold),
        project.explanations(fold),
        project.fold_metrics(fold),
        project.per_label(fold),
        project.history(fold),
    ]


def prune(folds: list[int], project: Project = HERE) -> list[Path]:
    """Remove `stale_fold_outputs` and return them. Where one is a link, what it leads to stays."""
    stale = stale_fold_outputs(folds, project)
    for path in stale:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return stale


def refuse_stale_folds(folds: list[int], project: Project = HERE) -> None:
    """Raise a UserError naming the left-over outputs, if there are any."""
    stale = stale_fold_outputs(folds, project)
    if stale:
        several = f" and {len(stale) - 1} more belong to folds" if len(stale) > 1 else " belongs to a fold"
        raise UserError(
            f"{stale[0]}{several} that split.folds = {folds} does not have: run `couplet prune`, then `dvc repro`"
        )
