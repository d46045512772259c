"""`couplet compare A B`: whether one run, or one group of repeats, is better than another.

    couplet compare 'on-*' 'off-*'
    couplet compare . HEAD --part test

Each argument is a git revision, the name of a DVC experiment, a pattern of experiments' names, or `.` for the
workspace. Nothing is checked out and nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from couplet.commands.arms import Arms, as_arms
from couplet.commands.revisions import PARTS, FinishedRun, read_runs
from couplet.evaluation import comparison
from couplet.evaluation.calibration.error import log_losses, squared_errors
from couplet.evaluation.comparison import Comparison, Run
from couplet.evaluation.estimate import Estimate, Source
from couplet.evaluation.leave_one_out import (
    LeaveOneOut,
    leave_one_out_auc,
    leave_one_out_mean,
)
from couplet.evaluation.leave_one_out_precision import leave_one_out_average_precision
from couplet.project.errors import UserError

Loss = Callable[[np.ndarray, np.ndarray], np.ndarray]
# Of calibrated probabilities.
LOSSES: dict[str, Loss] = {"log loss": log_losses, "Brier score": squared_errors}


@dataclass(frozen=True)
class Answer:
    """What `couplet compare` prints."""

    part: str
    arms: Arms
    auc: Comparison  # the primary endpoint is its macro
    a: Estimate  # macro-AUC of each arm
    b: Estimate
    labels_a: list[Estimate]  # AUC of each label in each arm
    labels_b: list[Estimate]
    # AUC of pairs of images of the same fold; None of the test part, or with one fold
    within: Comparison | None
    secondary: dict[str, Comparison]

    @property
    def verdict(self) -> str:
        """One of four sentences."""
        return comparison.verdict(self.auc.macro)

    @property
    def verdict_within(self) -> str | None:
        """The same of pairs within folds; None where there are none."""
        return None if self.within is None else comparison.verdict(self.within.macro)


def compare(a: str, b: str, part: str = "oof", unpaired: bool = False) -> Answer:
    """Compare the runs that two arguments name.

    Args:
        a, b: each names a run or several (`couplet.commands.revisions.read_runs`).
        part: oof or test.
        unpaired: allow arms of different repeats, at the cost of what paired repeats share.

    Raises:
        UserError: a run cannot be read, or the runs cannot be compared (`couplet.commands.arms`).
    """
    if part not in PARTS:
        raise UserError(f"--part = {part!r} is not allowed: it should be {' or '.join(PARTS)}")
    arms = as_arms(read_runs(a, part), read_runs(b, part), unpaired)
    ours, theirs = ([list(_auc(run)) for run in arm] for arm in (arms.a, arms.b))
    auc = comparison.compare(ours, theirs, arms.paired, scored=_scored(arms))
    flags = ("selected",) if part == "oof" else ()
    n_images = int(np.isfinite(arms.a[0].truth[:, auc.labels]).any(axis=1).sum())
    difference = replace(auc.macro.estimate, n_images=n_images).of(*_sources(arms.runs)).flagged(*flags)
    (a_macro, a_labels), (b_macro, b_labels) = (
        _own(statistics, auc.labels, _sources(arm), flags)
        for statistics, arm in ((ours, arms.a), (theirs, arms.b))
    )
    return Answer(
        part=part,
        arms=arms,
        auc=replace(auc, macro=replace(auc.macro, estimate=difference)),
        a=replace(a_macro, n_images=n_images),
        b=replace(b_macro, n_images=n_images),
        labels_a=a_labels,
        labels_b=b_labels,
        within=_within_folds(arms, flags) if part == "oof" else None,
        secondary=_secondary(arms),
    )


def _own(
    runs: Sequence[Run], used: list[int], sources: list[Source], flags: tuple[str, ...]
) -> tuple[Estimate, list[Estimate]]:
    """An arm's own mean over the labels that are used, and each label."""
    columns = [used, *([i] for i in range(len(runs[0])))]
    macro, *labels = [
        comparison.mean_of_repeats([[run[i] for i in column] for run in runs]).of(*sources).flagged(*flags)
        for column in columns
    ]
    return macro, labels


# --- statistics -----------------------------------------------------------------------------------------------


def _compared(arms: Arms, statistic: Callable[[FinishedRun], Iterable[LeaveOneOut]]) -> Comparison:
    """Compare a statistic of both arms' runs."""
    a, b = ([list(statistic(run)) for run in arm] for arm in (arms.a, arms.b))
    return comparison.compare(a, b, arms.paired, scored=_scored(arms))


def _scored(arms: Arms) -> np.ndarray:
    """(L,) the labels that means are over: those that every run scores."""
    return np.logical_and.reduce([run.scored for run in arms.runs])


def _auc(run: FinishedRun) -> Iterable[LeaveOneOut]:
    return leave_one_out_auc(run.truth, run.probabilities, run.patients)


def _within_folds(arms: Arms, flags: tuple[str, ...]) -> Comparison | None:
    """AUC of pairs of images of the same fold: one model ranked both, so that no two models' scales are compared."""
    if len(np.unique(arms.a[0].fold_of[arms.a[0].rows])) < 2:
        return None
    found = _compared(
        arms, lambda run: leave_one_out_auc(run.truth, run.probabilities, run.patients, run.fold_of[run.rows])
    )
    difference = found.macro.estimate.of(*_sources(arms.runs)).flagged(*flags)
    return replace(found, macro=replace(found.macro, estimate=difference))


def _average_precision(run: FinishedRun) -> Iterable[LeaveOneOut]:
    return leave_one_out_average_precision(run.truth, run.probabilities, run.patients)


def _loss(loss: Loss, run: FinishedRun) -> Iterable[LeaveOneOut]:
    assert run.calibrated is not None
    return leave_one_out_mean(loss(run.truth, run.calibrated), run.patients)


def _secondary(arms: Arms) -> dict[str, Comparison]:
    """mAP, and where all runs have calibrated probabilities their losses."""
    found = {"mAP": _compared(arms, _average_precision)}
    if all(run.calibrated is not None for run in arms.runs):
        found |= {name: _compared(arms, partial(_loss, loss)) for name, loss in LOSSES.items()}
    return found


def _sources(runs: Iterable[FinishedRun]) -> list[Source]:
    return [Source(f"{run.name}:{source.path}", source.md5) for run in runs for source in run.sources]


# --- JSON -----------------------------------------------------------------------------------------------------


def as_json(answer: Answer) -> str:
    """All of an answer, full digits; null stands for what is not defined and for infinite degrees of freedom."""
    labels = answer.arms.a[0].manifest.labels
    content = {
        "part": answer.part,
        "a": _arm_record(answer.arms.a, answer.a, labels, answer.labels_a),
        "b": _arm_record(answer.arms.b, answer.b, labels, answer.labels_b),
        "paired": answer.arms.paired,
        "settings": [{"key": key, "a": ours, "b": theirs} for key, ours, theirs in answer.arms.settings],
        "made_differently": [
            {"what": what, "a": ours, "b": theirs} for what, ours, theirs in answer.arms.made
        ],
        "auc": _record(answer.auc, labels),
        "auc_within_folds": None if answer.within is None else _record(answer.within, labels),
        "secondary": {name: _record(found, labels) for name, found in answer.secondary.items()},
        "verdict": answer.verdict,
        "verdict_within_folds": answer.verdict_within,
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _arm_record(
    runs: list[FinishedRun], macro: Estimate, labels: list[str], each: list[Estimate]
) -> dict[str, Any]:
    repeats = [{"name": run.name, "seed": run.repeat[0], "repeat": run.repeat[1]} for run in runs]
    # The files are those of the mean: once is enough.
    per_label = [{"label": label, **one.of().as_dict()} for label, one in zip(labels, each, strict=True)]
    return {"runs": repeats, "auc_macro": macro.as_dict(), "auc_labels": per_label}


def _record(found: Comparison, labels: list[str]) -> dict[str, Any]:
    p = found.adjusted()
    per_label = [
        {"label": label, **_finite(difference.as_dict()), "holm": holm, "benjamini_hochberg": bh}
        for label, difference, holm, bh in zip(labels, found.per_label, *p, strict=True)
    ]
    return {
        "macro": _finite(found.macro.as_dict()),
        "labels_used": [labels[i] for i in found.labels],
        "labels": per_label,
    }


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not np.isfinite(value) else value
        for key, value in record.items()
    }
