"""Outputs of folds that split.folds no longer lists: found, refused by name, removed by `couplet prune`."""

from __future__ import annotations

from pathlib import Path

from couplet.project import paths
from couplet.project.errors import UserError


def stale_fold_outputs(folds: list[int]) -> list[Path]:
    """Paths of outputs of other folds than `folds`, sorted.

    DVC leaves them behind when the fold list shrinks, and they would enter the hash of the folders above them.
    """
    wanted = {path for fold in folds for path in _outputs(str(fold))}
    found = {path for pattern in _outputs("*") for path in pattern.parent.glob(pattern.name)}
    return sorted(found - wanted)


def _outputs(fold: str) -> list[Path]:
    return [
        paths.MODELS / f"fold_{fold}",
        paths.FOLD_PREDICTIONS / f"fold_{fold}.csv",
        paths.TEST_PREDICTIONS / f"fold_{fold}.csv",
        paths.EXPLANATIONS / f"fold_{fold}.npz",
        Path("metrics") / f"fold_{fold}.json",
        Path("plots/per_label") / f"fold_{fold}.csv",
        Path("plots/history") / f"fold_{fold}.csv",
    ]


def refuse_stale_folds(folds: list[int]) -> None:
    """Raise a UserError naming the left-over outputs, if there are any."""
    stale = stale_fold_outputs(folds)
    if stale:
        more = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
        raise UserError(
            f"{stale[0]}{more} belongs to a fold that split.folds = {folds} does not have: run `couplet prune`, "
            "then `dvc repro`"
        )
