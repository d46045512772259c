"""What `dvc metrics` shows: metrics/split.json, metrics/fold_k.json and metrics/ensemble.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from couplet.project.errors import UserError
from couplet.project.files import RESTORE, read_record, write_json
from couplet.project.project import Project

Scores = dict[str, Any]
"""What `evaluation.metrics.all_scores` gives: a number by its name, or null where it is undefined."""

_SCORES: dict[str, type] = {"auc_macro": object, "top3": dict, "n_images": int, "labels_skipped": list}


@dataclass(frozen=True)
class SplitMetrics:
    """How even the folds are, and who is in two parts; None where patients or labels are too few to say."""

    n_images: int
    n_test_images: int
    n_patients: int | None
    patients_in_two_folds: int | None
    patients_in_train_and_test: int | None
    label_distribution_deviation: float | None
    label_pair_distribution_deviation: float | None
    splitter: str


def write_split_metrics(project: Project, metrics: SplitMetrics) -> None:
    """Write metrics/split.json."""
    write_json(project.split_metrics, asdict(metrics))


def read_split_metrics(project: Project) -> SplitMetrics:
    """Read metrics/split.json.

    Raises:
        UserError: it is missing, damaged, or lacks a number.
    """
    kinds: dict[str, type] = dict.fromkeys(SplitMetrics.__dataclass_fields__, object)
    kinds |= {"n_images": int, "n_test_images": int, "splitter": str}
    content = read_record(project.split_metrics, **kinds)
    return SplitMetrics(**{name: content[name] for name in kinds})


def write_fold_scores(project: Project, fold: int, scores: Scores) -> None:
    """Write metrics/fold_k.json."""
    write_json(project.fold_metrics(fold), scores)


def read_fold_scores(project: Project, fold: int) -> Scores:
    """Read metrics/fold_k.json.

    Raises:
        UserError: it is missing, damaged, or lacks a score.
    """
    return read_record(project.fold_metrics(fold), **_SCORES)


def write_ensemble_scores(project: Project, scores: dict[str, Scores]) -> None:
    """Write metrics/ensemble.json: `oof`, and `test` where labels of the test part are known."""
    write_json(project.ensemble_metrics, scores)


def read_ensemble_scores(project: Project) -> dict[str, Scores]:
    """Read metrics/ensemble.json.

    Raises:
        UserError: it is missing, damaged, or lacks a score.
    """
    content = read_record(project.ensemble_metrics, oof=dict)
    for part, scores in content.items():
        for key, kind in _SCORES.items():
            if part not in ("oof", "test") or not isinstance(scores.get(key), kind):
                raise UserError(f"{project.ensemble_metrics}: {part}.{key} is missing or not ours: {RESTORE}")
    return content
