"""Every score of a run with its interval, source and flags: of each fold, of all of them, and of the test part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from couplet.evaluation.estimate import Estimate, Source, in_order, source_of
from couplet.evaluation.jackknife import Estimates, auc_estimates, average_precision_estimates
from couplet.evaluation.metrics import TOP_K
from couplet.evaluation.threshold_scores import threshold_estimates
from couplet.results.run import Run

SCORES = {
    "auc_macro": "macro-AUC",
    "map": "mAP",
    "cp": "CP",
    "cr": "CR",
    "cf1": "CF1",
    "op": "OP",
    "or": "OR",
    "of1": "OF1",
}
"""Scores of all labels by their names in the metrics files; those after the first two also of an image's top 3."""


class PartScores(NamedTuple):
    """The scores of one part of the run.

    Attributes:
        name: as a row's heading.
        n_images: that were predicted.
        scores: by the keys of SCORES.
        top3: cp to of1 of an image's three highest labels.
        auc, average_precision: of each label.
    """

    name: str
    n_images: int
    scores: dict[str, Estimate]
    top3: dict[str, Estimate]
    auc: list[Estimate]
    average_precision: list[Estimate]


@dataclass(frozen=True)
class RunScores:
    """All of them.

    Attributes:
        folds: each fold on its own images.
        oof: all images that were predicted out of fold, the pairs of different folds too ("pooled").
        within: macro-AUC of the pairs within a fold, sum_k m_k n_k AUC_k / sum_k m_k n_k; equal to `oof` for one fold.
        within_auc: the same of each label.
        scales_differ, scales_differ_in: whether pooled and within are more than one standard error apart, for the
            macro-AUC and for each label.
        test: the ensemble on the test part; None without known labels.
    """

    folds: list[PartScores]
    oof: PartScores
    within: Estimate
    within_auc: list[Estimate]
    scales_differ: bool
    scales_differ_in: list[bool]
    test: PartScores | None

    @property
    def rows(self) -> list[PartScores]:
        """As in a table: each fold, all of several, and the test part."""
        together = [self.oof] if len(self.folds) > 1 else []
        return [*self.folds, *together, *([self.test] if self.test else [])]


def run_scores(run: Run) -> RunScores:
    """Compute them from the predictions that the report has read."""
    project = run.manifest.project
    files = {fold.fold: source_of(project.fold_predictions(fold.fold), project.root) for fold in run.folds}
    oof_flags, test_flags = (run.leaks.flags_of(part) for part in ("oof", "test"))
    folds = [
        _part(run, f"Fold {fold.fold}", fold.rows, fold.probabilities, (files[fold.fold],), oof_flags)[0]
        for fold in run.folds
    ]
    sources = tuple(source_of(file, project.root) for file in run.oof_files)
    if run.fitted is not None:  # by couplings of the other folds
        oof_flags = in_order((*oof_flags, "cross-fitted"))
    oof, pooled = _part(run, "All folds", run.oof_rows, run.oof_probabilities, sources, oof_flags)
    strata = run.fold_of[run.oof_rows]
    oof_truth, oof_patients = run.truth[run.oof_rows], run.patients[run.oof_rows]
    found = auc_estimates(oof_truth, run.oof_probabilities, oof_patients, strata, scored=run.scored)
    within = _about(found, sources, oof_flags)
    test = None
    if run.test_labelled:
        file = source_of(project.ensemble / "test.csv", project.root)
        test = _part(run, "Test part", run.test_rows, run.test_probabilities, (file,), test_flags)[0]
    return RunScores(
        folds=folds,
        oof=oof,
        within=within.macro,
        within_auc=within.per_label,
        scales_differ=_apart(pooled.macro, within.macro, pooled.macro_error),
        scales_differ_in=[
            _apart(*one) for one in zip(pooled.per_label, within.per_label, pooled.errors, strict=True)
        ],
        test=test,
    )


def _part(
    run: Run,
    name: str,
    rows: np.ndarray,
    probabilities: np.ndarray,
    sources: tuple[Source, ...],
    flags: tuple[str, ...],
) -> tuple[PartScores, Estimates]:
    truth, patients = run.scored_truth[rows], run.patients[rows]
    auc, precision = (
        _about(estimates(run.truth[rows], probabilities, patients, scored=run.scored), sources, flags)
        for estimates in (auc_estimates, average_precision_estimates)
    )
    at_threshold, top3 = (
        {
            key: one.of(*sources).flagged(*flags)
            for key, one in threshold_estimates(truth, probabilities, patients, top_k=top_k).items()
        }
        for top_k in (None, TOP_K)
    )
    scores = {"auc_macro": auc.macro, "map": precision.macro, **at_threshold}
    return PartScores(name, len(rows), scores, top3, auc.per_label, precision.per_label), auc


def _about(found: Estimates, sources: tuple[Source, ...], flags: tuple[str, ...]) -> Estimates:
    return found._replace(
        per_label=[one.of(*sources).flagged(*flags) for one in found.per_label],
        macro=found.macro.of(*sources).flagged(*flags),
    )


def _apart(one: Estimate, other: Estimate, error: float) -> bool:
    """Whether two estimates are more than a standard error apart; not where one is missing."""
    if one.value is None or other.value is None:
        return False
    return bool(abs(one.value - other.value) > error)  # never of NaN
