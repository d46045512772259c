"""What the section `decisions` shows of a run: the headline rule's thresholds and what they achieve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from couplet.evaluation.decisions import Point
from couplet.evaluation.estimate import Estimate
from couplet.evaluation.prevalence import prevalences
from couplet.reporting.figures_forest import Column, Series, ends, forest
from couplet.reporting.parts import Part, labels_shown
from couplet.reporting.picture import Picture
from couplet.reporting.rows_decisions import Judgement, judgements
from couplet.reporting.selection import grid_labels, selection_note
from couplet.results.run import Run
from couplet.results.threshold_spread import ThresholdSpread, read_threshold_spread

RULE_WORDS = {
    "youden": "call an image positive where its calibrated probability is at least the prevalence (a likelihood "
    "ratio of at least 1, which makes sensitivity + specificity largest)",
    "f1": "the threshold at which the expected F1 is largest, which is half of that F1",
    "cost": "call an image positive where the expected harm of a miss outweighs that of a false alarm",
    "prevalence": "the threshold that calls as many images positive as there are positives",
    "sensitivity": "the highest threshold that finds the wanted share of the positives of new patients",
    "specificity": "the lowest threshold that leaves alone the wanted share of the negatives of new patients",
}
PANELS = {"sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV"}


class LabelDecision(NamedTuple):
    """One label: its threshold, how far that is known, and its judgement in each labelled part."""

    label: str
    point: Point
    spread: ThresholdSpread | None
    judged: list[Judgement | None]


@dataclass(frozen=True)
class Decisions:
    """All of it; `parts`: (title, words) of the labelled parts, in the order of `LabelDecision.judged`."""

    rule: str
    words: str
    target: float | None  # of the rules that aim at a sensitivity or specificity
    cost_ratio: float | None
    parts: list[tuple[str, str]]
    rows: list[LabelDecision]
    unreachable: int  # labels without a threshold, of all
    picture: Picture | None
    note: str


def judge_decisions(run: Run, parts: list[Part]) -> Decisions:
    """Judge the headline rule on the labelled parts: cross-fitted out of fold, as they are on the test part."""
    rule, shown = run.params.decision.rule, labels_shown(run)
    points = run.calibrated.points[rule]
    labelled = [part for part in parts if part.labelled]
    judged = []
    for part in labelled:
        thresholds = (
            run.calibrated.oof_thresholds[rule][:, shown]
            if part.name == "oof"
            else run.calibrated.thresholds[rule][shown]
        )
        chosen = part.of(shown)
        found = judgements(chosen.truth, chosen.q, part.patients, thresholds)
        judged.append([None if one is None else one.about(part.q_flags, part.q_source) for one in found])
    spreads = read_threshold_spread(run.manifest.project, rule, len(run.labels))
    names = [run.labels[i] for i in shown]
    rows = [
        LabelDecision(name, points[i], spreads[i], [column[row] for column in judged])
        for row, (i, name) in enumerate(zip(shown, names, strict=True))
    ]
    last = labelled[-1] if labelled else None
    return Decisions(
        rule=rule,
        words=RULE_WORDS[rule],
        target=getattr(run.params.decision, rule) if rule in ("sensitivity", "specificity") else None,
        cost_ratio=run.params.decision.cost_ratio if rule == "cost" else None,
        parts=[(part.title, part.sentence) for part in labelled],
        rows=rows,
        unreachable=sum(point.value is None for point in points),
        picture=None
        if last is None
        else _picture(run, last, dict(zip(shown, (r.judged[-1] for r in rows), strict=True))),
        note=selection_note(run, shown),
    )


def _picture(run: Run, part: Part, judged: dict[int, Judgement | None]) -> Picture | None:
    shown = [label for label in grid_labels(run) if judged.get(label) is not None]
    if not shown:
        return None
    found = [one for label in shown if (one := judged[label]) is not None]
    prevalence = prevalences(part.truth[:, shown])
    columns = []
    for name, title in PANELS.items():
        estimates: list[Estimate] = [getattr(one, name) for one in found]
        marks = {"ppv": prevalence, "npv": 1 - prevalence}.get(name)
        columns.append(Column(title, [Series(ends(estimates))], marks=marks))
    caption = (
        f"{part.sentence}, at the thresholds of the rule “{run.params.decision.rule}”, with 95% intervals by patient. "
        "Sensitivity: of the images with the finding, the share that is called positive; specificity: of those "
        "without, the share that is not. PPV: of the positive calls, the share that is right; NPV: of the negative "
        "calls. Black line: the PPV and NPV of calling at random, which are the prevalence here and its rest."
        f"{selection_note(run, grid_labels(run))}"
    )
    drawn = forest([run.labels[i] for i in shown], columns)
    return Picture("decisions", drawn, f"What the thresholds achieve. {part.title}", caption)
