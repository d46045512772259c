"""The model card of an exported ensemble: what it is, how good, for whom not, and how others load it."""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import jinja2
import numpy as np

from couplet.evaluation.estimate import Estimate
from couplet.evaluation.groups import MIN_CLASS_PATIENTS, MIN_PATIENTS, UNKNOWN
from couplet.evaluation.ordering import codes
from couplet.inference.fold_files import TIMM
from couplet.reporting.estimates import RunScores
from couplet.reporting.judge_groups import attributes
from couplet.reporting.parts import labels_shown
from couplet.reporting.rows_groups import GroupLabel, GroupRow, Judged, folded, group_rows
from couplet.results.bundle import ONNX, OPENVINO, Bundle
from couplet.results.run import Run
from couplet.settings.schema.refiner import RefinerParams


class Subgroup(NamedTuple):
    """One group out of fold: its two most telling labels, as text; empty where no label has enough patients."""

    attribute: str
    value: str
    n_images: int
    n_patients: int
    lowest_auc: str
    least_calibrated: str


def card(run: Run, scores: RunScores, bundle: Bundle) -> str:
    """README.md as text: a YAML head as model hubs read it, then Markdown.

    Args:
        run: as the report reads it.
        scores: of `run`, with their intervals.
        bundle: what config.json will say; its `files` must list everything that the card speaks of.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("couplet.commands", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    shown = labels_shown(run)
    return environment.get_template("card.jinja").render(
        bundle=bundle,
        run=run,
        best=scores.test or scores.oof,
        parts=[part for part in (scores.oof, scores.test) if part],
        labels=[_label_row(run, scores, i) for i in shown],
        n_left_out=len(run.labels) - len(shown),
        subgroups=subgroups(run),
        enough=(MIN_PATIENTS, MIN_CLASS_PATIENTS),
        timm=all(fold["form"] == TIMM for fold in bundle.folds),
        has={"onnx": ONNX in bundle.files, "openvino": OPENVINO in bundle.files},
        first=bundle.folds[0]["fold"],
        couplings=couplings(run.params.refiner),
    )


def couplings(refiner: RefinerParams) -> Literal["none", "plain", "settings", "afterwards"]:
    """Which couplings the card speaks of: the first paper's formula, trained ones of other settings, fitted ones."""
    if refiner.fitted_afterwards:
        return "afterwards"
    if not refiner.trained:
        return "none"
    plain = (refiner.message, refiner.steps, refiner.conditional) == ("sigmoid", 1, "none")
    return "plain" if plain else "settings"


def subgroups(run: Run) -> list[Subgroup]:
    """The groups that are large enough to be scored, as the report judges them: out of fold, by patient."""
    rows, everybody = run.oof_rows, codes(run.patients)
    judged = Judged(
        run.truth[rows].astype(np.float64),
        run.oof_probabilities,
        run.calibrated.oof_q,
        run.calibrated.oof_thresholds[run.params.decision.rule],
        codes(run.patients[rows]),
    ).labels(np.array(labels_shown(run)))
    known = {
        name: folded(values, everybody)[rows]
        for name, values in attributes(run).items()
        if (values[rows] != UNKNOWN).any()
    }
    names = [run.labels[i] for i in labels_shown(run)]
    return [_subgroup(row, names) for row in group_rows(judged, known) if row.group.shown]


def _subgroup(row: GroupRow, names: list[str]) -> Subgroup:
    scored = [(name, one) for name, one in zip(names, row.labels, strict=True) if one is not None]

    def off(one: tuple[str, GroupLabel]) -> float:
        ratio = one[1].observed_over_expected.value
        return abs(np.log(ratio)) if ratio else 0.0

    aucs = [(name, one.auc) for name, one in scored if one.auc.value is not None]
    lowest = min(aucs, key=lambda one: one[1].value or 0.0, default=None)
    farthest = max(scored, key=off, default=None)
    return Subgroup(
        row.group.attribute,
        row.group.value,
        row.group.n_images,
        row.group.n_patients,
        f"{_cell(lowest[0])} {lowest[1].text(3)}" if lowest else "",
        f"{_cell(farthest[0])} {farthest[1].observed_over_expected.text(2)}" if farthest else "",
    )


def _label_row(run: Run, scores: RunScores, i: int) -> dict[str, Any]:
    truth = run.truth[run.oof_rows, i]
    test: Estimate | None = scores.test.auc[i] if scores.test else None
    return {
        "label": run.labels[i],
        "positives": int((truth == 1).sum()),
        "known": int(np.isfinite(truth).sum()),
        "oof": scores.oof.auc[i].text(3),
        "test": test.text(3) if test else "",
        "flags": ", ".join(run.calibrated.calibrators[i].flags),
    }


def _cell(text: object) -> str:
    """Text of data in Markdown: a name cannot end a table's cell, begin a tag or a link, or break the line."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", " ".join(str(text).split()))
