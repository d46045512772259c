"""What the section `sets` shows of a run: promised and measured coverage, abstention, risk against coverage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from couplet.evaluation.estimate import Estimate, source_of
from couplet.evaluation.risk import risk_coverage
from couplet.reporting import style
from couplet.reporting.figures_calibration import risk_coverage as draw_risk_coverage
from couplet.reporting.figures_forest import Column, Series, ends, forest
from couplet.reporting.parts import Part, labels_shown
from couplet.reporting.picture import Picture
from couplet.reporting.rows_sets import (
    Abstention,
    Coverage,
    abstention_rows,
    all_right,
    augrc_estimate,
    coverage_rows,
)
from couplet.reporting.selection import grid_labels, selection_note
from couplet.results.run import Run

MOST_CATEGORIES = 4  # in the picture, those with the most images; the table and plots/sets.csv have all
WORDS = {1: "present", 0: "absent"}


@dataclass(frozen=True)
class Sets:
    """All of it. `abstention` and `risk` are empty without a test part; `labelled`: whether its truth is known."""

    alpha: float
    by_view: bool
    categories: list[str]
    labelled: bool
    coverage: list[Coverage]  # of the labels shown
    abstention: list[tuple[str, Abstention]]
    all_right: Estimate | None
    augrc: Estimate | None
    coverage_picture: Picture | None
    risk_picture: Picture | None
    note: str


def judge_sets(run: Run, parts: list[Part]) -> Sets:
    """Judge the sets of the test part."""
    shown, calibrated = labels_shown(run), run.calibrated
    test = next((part for part in parts if part.name == "test"), None)
    rows, abstention, right, area = _promised(run, shown), [], None, None
    if test is not None:
        source = (source_of(run.manifest.project.ensemble / "decisions.csv", run.manifest.project.root),)
        measured = coverage_rows(
            calibrated.conformal,
            calibrated.decision.alpha,
            test.truth,
            calibrated.decisions,
            test.patients,
            calibrated.test_categories,
            shown,
        )
        rows = [
            row._replace(measured=row.measured and row.measured.flagged(*test.q_flags).of(*source))
            for row in measured
        ]
        found = abstention_rows(test.truth[:, shown], calibrated.decisions[:, shown], test.patients)
        abstention = [
            (run.labels[i], one.about(test.q_flags, source)) for i, one in zip(shown, found, strict=True)
        ]
        if test.labelled:
            right = all_right(test.truth, calibrated.decisions, test.patients)
            right = right.flagged(*test.q_flags).of(*source)
            area = augrc_estimate(test.truth, test.q, test.patients)
            area = area.flagged(*test.q_flags).of(*test.q_source)
    labelled = test is not None and test.labelled
    return Sets(
        alpha=calibrated.decision.alpha,
        by_view=calibrated.by_view,
        categories=calibrated.categories,
        labelled=labelled,
        coverage=rows,
        abstention=abstention,
        all_right=right,
        augrc=area,
        coverage_picture=_coverage_picture(run, rows) if labelled else None,
        risk_picture=_risk_picture(test) if test is not None and labelled else None,
        note=selection_note(run, shown),
    )


def _promised(run: Run, shown: list[int]) -> list[Coverage]:
    """What is promised, without a test part to measure it on."""
    n = len(run.labels)
    nobody = np.zeros(0, np.int64)
    record, alpha = run.calibrated.conformal, run.calibrated.decision.alpha
    return coverage_rows(record, alpha, np.zeros((0, n)), np.zeros((0, n)), nobody, nobody.astype(str), shown)


def _coverage_picture(run: Run, rows: list[Coverage]) -> Picture | None:
    shown = grid_labels(run)
    _, counts = np.unique(run.calibrated.test_categories, return_counts=True)
    names = np.unique(run.calibrated.test_categories)[np.argsort(-counts, kind="stable")][:MOST_CATEGORIES]
    by_place = {(row.label, row.y, row.category): row for row in rows}
    columns = []
    for y in (1, 0):
        for name in names.tolist():
            chosen = [by_place.get((label, y, name)) for label in shown]
            if not any(chosen):
                continue
            bands = np.array([(np.nan, np.nan) if row is None else row.promised for row in chosen])
            series = Series(ends([row.measured if row else None for row in chosen]))
            title = f"{WORDS[y]}, {style.short(name, 14)}"
            columns.append(Column(title, [series], bands=bands, line=1 - run.calibrated.decision.alpha))
    if not columns:  # no category of the test part is one that sets were made in
        return None
    drawn = forest([run.labels[i] for i in shown], columns)
    caption = (
        "How often the set of a test image has the class that is true, for images with the finding (“present”) and "
        "without it (“absent”): the mean over patients with its 95% interval. Grey: the range that the promise allows, "
        "given how many patients it was set up with; dashed: the aim. A hollow mark has no interval."
        f"{selection_note(run, shown)}"
    )
    return Picture("set_coverage", drawn, "Do the sets keep their promise? Test part", caption)


def _risk_picture(test: Part) -> Picture:
    rows = risk_coverage(test.truth, test.q)
    caption = (
        "Every image × label cell of the test part is called present at q ≥ 0.5; the cells are sorted by how sure "
        "the calibrated probability is, and only the surest are decided. The further the curve stays below the dashed "
        "line, the better the unsure cells are known."
    )
    return Picture(
        "risk_coverage", draw_risk_coverage(rows), "What leaving unsure cells aside gains", caption
    )
