"""This run beside the published numbers of both papers and of other sets, and how far it may be compared with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from couplet.evaluation.estimate import Estimate
from couplet.reporting.estimates import SCORES
from couplet.reporting.published import KNOWN, Beside, System, beside, digits, published
from couplet.reporting.section import Drawn
from couplet.results.measured import Measured, data_key, head_and_levels, read_measured
from couplet.results.run import Run
from couplet.settings.presets import preset_names

TITLE = "Beside published numbers"

NOT_COMPARABLE = {
    "phantom": (
        "This run’s pictures are drawn by the pipeline itself. Its numbers show that the pipeline works, and "
        "nothing about chest X-rays: they must not be set beside the published ones."
    ),
    "grand_xray_slam": (
        "The first paper’s scores are macro-AUCs on the competition’s hidden test labels. This run’s out-of-fold "
        "number is on training images, so the two are close relatives and not the same: only a submission of "
        "`data/predictions/ensemble/submission.csv` is comparable. The other systems’ scores are of another data set."
    ),
    "nih": (
        "Most published scores on these images are of splits that their authors drew, which nobody else has: on such a "
        "split and on the official test list one and the same model scores about 0.03 apart. Only the numbers of the "
        "official test list can be set beside this run’s test part, if it is that list, whole."
    ),
    "coco": (
        "This run is on photographs with other labels: the scores of Table I, all of chest X-rays, say "
        "nothing about it. The second paper’s numbers below are of the whole COCO 2014 validation set."
    ),
    "combined": (
        "This run is on several data sets at once, and its number is of all of them together. Each published score is "
        "of one set: the subgroups of `source` come nearest, on other images than the published ones."
    ),
}
SAME_SET = (
    "Some scores under “Other sets of chest X-rays” are of this run’s data set, but of a part that their authors drew, "
    "or of hidden labels: on other images than this run’s, so they say what to expect, and no more. All other scores "
    "are of other data."
)
OTHER_DATA = (
    "This run is on other images than the published scores, which are of NIH ChestX-ray14, of the hidden test part of "
    "Grand X-Ray SLAM, division B, of other sets that are named beside them, or of COCO: not comparable, an order of "
    "magnitude at best."
)
PARTS = {"oof": "out of fold", "test": "test part"}


class Shown(NamedTuple):
    """A row of a published table.

    Attributes:
        system: what is known of it.
        preset: its preset, or the nearest one where it cannot be defined; empty if this checkout has none.
        measured: what runs of that preset scored, by data set: this run's images first.
    """

    system: System
    preset: str
    measured: list[MeasuredHere]


class MeasuredHere(NamedTuple):
    """Scores of one system on one set of images and folds."""

    scores: list[tuple[str, Estimate]]  # of each part, by the part's name
    decimals: int
    about: str
    changed: str  # settings that are not the preset's
    why_not: str  # it may be set beside the published numbers where this is empty


def content(run: Run, drawn: Drawn) -> dict[str, Any]:
    """The published tables, what runs of the same systems scored here, and a sentence on comparing them."""
    project, found = run.manifest.project, published()
    rows, presets = read_measured(project), preset_names(project)
    here, model, source = data_key(run.manifest, run.fold_of), run.params.model, run.params.data.source
    table_i, other_sets, coco = (
        [_shown(system, presets, rows, here, metric) for system in systems]
        for systems, metric in (
            (found.xrays, "auc_macro"),
            (found.other_xrays, "auc_macro"),
            (found.coco, "map"),
        )
    )
    elsewhere = SAME_SET if source in found.other_sets else OTHER_DATA
    return {
        "comparability": NOT_COMPARABLE.get(source, elsewhere),
        "table_i": table_i,
        "other_sets": other_sets,
        "about_other_sets": source in {*found.other_sets, "combined"} - {"nih"},
        "coco": coco,
        "labels_of_xrays": found.labels_of_xrays,
        "with_labels": [(system, number) for system in found.xrays for number in system.with_labels],
        "about_second_paper": about_second_paper(run),
        "head": head_and_levels(model.head, model.levels.n_levels, model.levels.kind),
        "oof": drawn.scores.oof.scores["auc_macro"],
        "test": drawn.scores.test.scores["auc_macro"] if drawn.scores.test else None,
        "whole": drawn.scores.rows[-1],
        "whole_map": in_per_cent(drawn.scores.rows[-1].scores["map"]),
        "known": KNOWN,
        "names": SCORES,
        "per_cent": per_cent,
        "digits": digits,
    }


def _shown(system: System, presets: list[str], rows: list[Measured], here: str, metric: str) -> Shown:
    name = system.preset or system.nearest
    found: dict[tuple[str, ...], list[Beside]] = {}
    for one in beside(system, rows):
        found.setdefault((one.row.source, one.row.data, *one.row.experiments), []).append(one)
    groups = sorted(found.items(), key=lambda item: (item[0][1] != here, item[0]))
    measured = [_measured(parts, here, metric) for _, parts in groups]
    return Shown(system, name if name in presets else "", measured)


def _measured(parts: list[Beside], here: str, metric: str) -> MeasuredHere:
    row = parts[0].row
    sizes = [f"{one.row.images:,} images of {one.row.patients:,} patients" for one in parts]
    repeats = f"; mean of {len(row.experiments)} repeats" if len(row.experiments) > 1 else ""
    about = (
        f"{row.source}, {' and '.join(sizes)}{', as this run' if row.data == here else ''}; {row.backbone} at "
        f"{row.size} px, head {row.head_and_levels}, epochs: {row.epochs}{repeats}; "
        f"settings that are not the preset’s: {len(row.changed)}"
    )
    scores = [
        (PARTS[one.row.part], in_per_cent(one.row.map) if metric == "map" else one.row.auc_macro)
        for one in parts
    ]
    comparable = any(not one.why_not for one in parts)
    why_not = "" if comparable else parts[-1].why_not
    return MeasuredHere(scores, 1 if metric == "map" else 4, about, ", ".join(row.changed), why_not)


def per_cent(share: float) -> str:
    """A share as the second paper prints it.

    >>> per_cent(0.842)
    '84.2'
    """
    return f"{100 * share:.1f}"


def in_per_cent(estimate: Estimate) -> Estimate:
    """The same share in per cent, as the second paper prints it."""
    value, low, high = (
        None if one is None else 100 * one for one in (estimate.value, estimate.low, estimate.high)
    )
    return replace(estimate, value=value, low=low, high=high)


def about_second_paper(run: Run) -> bool:
    """Whether the run is on the second paper's data or with its head."""
    return run.params.data.source == "coco" or run.params.model.head == "db_dgcn"
