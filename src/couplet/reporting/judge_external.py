"""What the section `external` shows of a run: the external test beside the test part, over the same labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from couplet.evaluation.estimate import Estimate, source_of
from couplet.evaluation.hits import share
from couplet.evaluation.prevalence import moved
from couplet.reporting.parts import Part
from couplet.reporting.rows_external import (
    Measures,
    Moved,
    Side,
    Together,
    after_moving,
    log_errors,
    measures,
    off_target,
    ranked_otherwise,
    together,
    unlabelled_prevalences,
)
from couplet.results.external import External, SharedWithTraining
from couplet.results.external_predictions import FILES, ExternalRun
from couplet.results.external_scores import scored_labels
from couplet.results.run import Run


@dataclass(frozen=True)
class LabelRow:
    """One shared label.

    Attributes:
        label: its name; columns: what says it there; approximate: whether that is only nearly the same.
        internal: on the test part; None where its labels are not known.
        external: on the external test.
        moved: there, after moving the prevalence alone.
        estimated: the prevalence there as the images alone say it: a diagnostic, applied nowhere.
    """

    label: str
    columns: str
    approximate: bool
    internal: Measures | None
    external: Measures
    moved: Moved
    estimated: Estimate


@dataclass(frozen=True)
class ExternalTest:
    """All of it. Lists of labels hold names.

    Attributes:
        source, n_images, n_patients: of the external test.
        shared: who of it is in training.
        rows: the shared labels.
        scored: those that have both classes in both parts: what the means are over.
        lacking: labels of the run that it does not know.
        internal, external, moved: the means.
        off_before, off_after: labels whose observed / expected there is not 1, and those of them after moving.
        ranked_otherwise: labels whose AUC there is another than on the test part.
        unseen_views: views there of which the run has no images out of fold.
    """

    source: str
    n_images: int
    n_patients: int
    shared: SharedWithTraining
    rows: list[LabelRow]
    scored: list[str]
    lacking: list[str]
    internal: Together | None
    external: Together
    moved: Together
    off_before: list[str]
    off_after: list[str]
    ranked_otherwise: list[str]
    unseen_views: list[str]


def judge_external(run: Run, parts: Sequence[Part]) -> ExternalTest | None:
    """Judge the external test beside the run's own `parts`; None without one."""
    if run.external is None:
        return None
    external, labels = run.external.test, run.external.test.shared
    names = [run.labels[i] for i in labels]
    oof, *test = parts
    there = _external_side(run, run.external).of(labels)
    here = _test_side(run, test[0]).of(labels) if run.test_labelled else None
    thresholds = run.calibrated.thresholds[run.params.decision.rule][labels]
    prevalence = np.array([run.calibrated.calibrators[i].prevalence for i in labels], dtype=np.float64)
    moved_q = moved(there.q, prevalence, share(there.truth))

    outside, aucs_there = measures(there, thresholds)
    inside, aucs_here = measures(here, thresholds) if here is not None else ([None] * len(labels), None)
    changed = after_moving(there, moved_q, thresholds)
    estimated = unlabelled_prevalences(there, prevalence)
    test_truth = test[0].truth if run.test_labelled else None
    scored = [labels.index(i) for i in scored_labels(external, test_truth)]

    fitted = log_errors(oof.truth[:, labels], oof.q[:, labels], oof.patients)
    before = off_target(there.truth, there.q, there.patients, fitted)
    after = [i for i in off_target(there.truth, moved_q, there.patients, fitted) if i in before]

    def named(places: list[int]) -> list[str]:
        return [names[i] for i in places]

    return ExternalTest(
        source=external.source,
        n_images=len(external.manifest.ids),
        n_patients=len(np.unique(external.patients)),
        shared=run.external.shared,
        rows=[
            LabelRow(
                name,
                " or ".join(external.label_map[name]),
                name in external.approximate,
                inside[i],
                outside[i],
                changed[i],
                estimated[i],
            )
            for i, name in enumerate(names)
        ],
        scored=named(scored),
        lacking=[label for label in run.labels if label not in external.label_map],
        internal=together(here, scored) if here is not None else None,
        external=together(there, scored),
        moved=together(there, [i for i in scored if not np.isnan(moved_q[:, i]).any()], moved_q),
        off_before=named(before),
        off_after=named(after),
        ranked_otherwise=named(ranked_otherwise(aucs_here, aucs_there)) if aucs_here else [],
        unseen_views=_unseen_views(run, external),
    )


def _test_side(run: Run, test: Part) -> Side:
    project = run.manifest.project
    return Side(
        test.truth,
        test.raw,
        test.q,
        run.calibrated.decisions,
        test.patients,
        test.raw_flags,
        test.raw_source[0],
        test.q_source[0],
        source_of(project.ensemble / "decisions.csv", project.root),
    )


def _external_side(run: Run, external: ExternalRun) -> Side:
    folder, root = run.manifest.project.external_ensemble, run.manifest.project.root
    test, predicted = external.test, external.predicted
    return Side(
        test.manifest.truth.astype(np.float64),
        predicted.p,
        predicted.q,
        predicted.decisions,
        test.patients,
        ("leak",) if external.shared.found or run.leaks.other_data else (),
        *(source_of(folder / name, root) for name in FILES),
    )


def _unseen_views(run: Run, external: External) -> list[str]:
    """Views of the external test in which the run has no images to set its sets up with."""
    if not run.calibrated.by_view:
        return []
    views = {str(view) or "unknown" for view in external.manifest.table["view"]}
    return sorted(views - set(run.calibrated.categories))
