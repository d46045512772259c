"""What `dvc metrics` shows: split.json, fold_k.json, ensemble.json and calibration.json in metrics/."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from couplet.project.errors import UserError
from couplet.project.files import RESTORE, read_record, write_json
from couplet.project.project import Project

Scores = dict[str, Any]
"""What `evaluation.metrics.all_scores` gives: a number by its name, or null where it is undefined."""

CalibrationScores = dict[str, float | int | None]
"""What metrics/calibration.json says of a part: a number by its name, null where nothing is known."""

_SCORES: dict[str, type] = {"auc_macro": object, "top3": dict, "n_images": int, "labels_skipped": list}
_INTERVAL: dict[str, type] = {"auc_macro_low": object, "auc_macro_high": object}
_CALIBRATION = ("log_loss", "log_loss_raw", "brier", "calibration_error", "labels_miscalibrated")
_COUPLINGS: dict[str, type] = {
    "fit": str,
    "verdict": str,
    "oof": dict,
    "permutation_p": object,
    "revealed": dict,
    "agreement": dict,
    "asymmetry": object,
    "largest": object,
    "zeros": object,
    "spectral_radius": object,
}
_SETS = ("coverage_present", "coverage_absent", "singletons")


@dataclass(frozen=True)
class SplitMetrics:
    """How even the folds are, and what is in two parts; None where patients or labels are too few to say.

    Pictures are those of different patients that are stored as the same bytes. `shared_between` is of a combined set:
    of each pair of its members the pictures in both and the patients who have one of them; None of a single set.
    """

    n_images: int
    n_test_images: int
    n_patients: int | None
    patients_in_two_folds: int | None
    patients_in_train_and_test: int | None
    pictures_in_two_folds: int
    pictures_in_train_and_test: int
    patients_sharing_a_picture: int | None
    label_distribution_deviation: float | None
    label_pair_distribution_deviation: float | None
    splitter: str
    shared_between: dict[str, dict[str, int]] | None = None


def write_split_metrics(project: Project, metrics: SplitMetrics) -> None:
    """Write metrics/split.json."""
    content = asdict(metrics)
    if metrics.shared_between is None:
        del content["shared_between"]
    write_json(project.split_metrics, content)


def read_split_metrics(project: Project) -> SplitMetrics:
    """Read metrics/split.json.

    Raises:
        UserError: it is missing, damaged, or lacks a number.
    """
    kinds: dict[str, type] = dict.fromkeys(SplitMetrics.__dataclass_fields__, object)
    del kinds["shared_between"]
    kinds |= {"n_images": int, "n_test_images": int, "splitter": str}
    kinds |= {"pictures_in_two_folds": int, "pictures_in_train_and_test": int}
    content = read_record(project.split_metrics, **kinds)
    between = content.get("shared_between")
    if between is not None and not _counts_of_pairs(between):
        raise UserError(f"{project.split_metrics}: shared_between is not ours: {RESTORE}")
    return SplitMetrics(**{name: content[name] for name in kinds}, shared_between=between)


def _counts_of_pairs(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(pair, dict) and all(type(pair.get(key)) is int for key in ("pictures", "patients"))
        for pair in content.values()
    )


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
        for key, kind in (_SCORES | _INTERVAL).items():
            known = isinstance(scores, dict) and key in scores
            if not known or part not in ("oof", "test") or not isinstance(scores.get(key), kind):
                raise UserError(f"{project.ensemble_metrics}: {part}.{key} is missing or not ours: {RESTORE}")
    return content


def write_coupling_scores(project: Project, scores: dict[str, Any]) -> None:
    """Write metrics/couplings.json."""
    write_json(project.couplings_metrics, scores)


def read_coupling_scores(project: Project) -> dict[str, Any]:
    """Read metrics/couplings.json.

    Raises:
        UserError: it is missing, damaged, or lacks what is asked of it.
    """
    return read_record(project.couplings_metrics, **_COUPLINGS)


def with_interval(scores: Scores, low: float | None, high: float | None) -> Scores:
    """The scores with the ends of their macro-AUC's interval beside it, 4 decimals; None where it has none.

    >>> with_interval({"auc_macro": 0.8, "map": 0.3}, 0.78123, 0.81987)
    {'auc_macro': 0.8, 'auc_macro_low': 0.7812, 'auc_macro_high': 0.8199, 'map': 0.3}
    """
    ends = {
        name: None if end is None else round(end, 4)
        for name, end in (("auc_macro_low", low), ("auc_macro_high", high))
    }
    return {"auc_macro": scores["auc_macro"]} | ends | scores


def write_calibration_scores(project: Project, scores: dict[str, CalibrationScores]) -> None:
    """Write metrics/calibration.json: `oof`, and `test` where labels of the test part are known."""
    write_json(project.calibration_metrics, scores)


def read_calibration_scores(project: Project) -> dict[str, CalibrationScores]:
    """Read metrics/calibration.json.

    Raises:
        UserError: it is missing, damaged, or lacks a score.
    """
    content = read_record(project.calibration_metrics, oof=dict)
    for part, scores in content.items():
        for key in (*_CALIBRATION, *(_SETS if part == "test" else ())):
            if part not in ("oof", "test") or not isinstance(scores, dict) or key not in scores:
                raise UserError(
                    f"{project.calibration_metrics}: {part}.{key} is missing or not ours: {RESTORE}"
                )
    return content
