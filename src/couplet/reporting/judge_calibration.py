"""What the section `calibration` shows of a run: measures before and after, the curves, what the calibrators did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from couplet.evaluation.calibration.error import reliability_curve, too_few_to_judge
from couplet.evaluation.calibration.record import LabelCalibrator
from couplet.reporting.figures_calibration import Curve, reliability
from couplet.reporting.parts import Part, labels_shown
from couplet.reporting.picture import Picture
from couplet.reporting.rows_calibration import Means, Measures, label_measures, means
from couplet.reporting.selection import grid_labels, selection_note
from couplet.results.run import Run


class Pair(NamedTuple):
    """One label's measures before and after calibration."""

    label: str
    before: Measures
    after: Measures


@dataclass(frozen=True)
class PartRows:
    """One labelled part: means over labels, and a pair per label shown."""

    title: str
    words: str
    before: Means
    after: Means
    labels: list[Pair]


class Fitted(NamedTuple):
    """What one label's calibrator does; None where the method has no such number."""

    label: str
    n_positive: int
    n_positive_patients: int
    parameters: tuple[float, float, float] | None
    prior: tuple[float, float, float] | None
    kappa: float
    half: float  # what a raw output of 0.5 of one model becomes
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Calibration:
    """All of it; `parts` are those with known truth."""

    parts: list[PartRows]
    fitted: list[Fitted]
    curves: list[Picture]
    note: str


def judge_calibration(run: Run, parts: list[Part]) -> Calibration:
    """Judge the labelled parts before and after calibration."""
    shown = labels_shown(run)
    labelled = [part for part in parts if part.labelled]
    return Calibration(
        parts=[_rows(run, part.of(shown), part, shown) for part in labelled],
        fitted=[_fitted(run, run.calibrated.calibrators[i]) for i in shown],
        curves=[_curves(run, part) for part in labelled],
        note=selection_note(run, shown),
    )


def _rows(run: Run, shown_part: Part, part: Part, shown: list[int]) -> PartRows:
    prevalence = np.array([run.calibrated.calibrators[i].prevalence for i in shown], dtype=np.float64)
    truth, patients, scored = shown_part.truth, shown_part.patients, run.scored
    pairs = []
    for values, flags, source in (
        (shown_part.raw, part.raw_flags, part.raw_source),
        (shown_part.q, part.q_flags, part.q_source),
    ):
        rows = [one.about(flags, source) for one in label_measures(truth, values, patients, prevalence)]
        pairs.append(rows)
    before, after = pairs
    overall = [
        means(
            part.truth[:, scored],
            values[:, scored],
            part.patients,
            np.array([one.p_value for one, in_means in zip(rows, scored[shown], strict=True) if in_means]),
        )
        for values, rows in ((part.raw, before), (part.q, after))
    ]
    first, second = (
        one._replace(
            log_loss=one.log_loss.flagged(*flags).of(*source), brier=one.brier.flagged(*flags).of(*source)
        )
        for one, flags, source in zip(
            overall, (part.raw_flags, part.q_flags), (part.raw_source, part.q_source), strict=True
        )
    )
    names = [run.labels[i] for i in shown]
    return PartRows(
        part.title,
        part.sentence,
        first,
        second,
        [Pair(*row) for row in zip(names, before, after, strict=True)],
    )


def _fitted(run: Run, calibrator: LabelCalibrator) -> Fitted:
    half = float(calibrator.probability(np.array(0.5), run.calibrated.posterior))
    beta, prior = calibrator.beta, calibrator.prior
    return Fitted(
        calibrator.label,
        calibrator.n_positive,
        calibrator.n_positive_patients,
        (beta.a, beta.b, beta.c) if beta else None,
        (prior.a, prior.b, prior.c) if prior else None,
        calibrator.kappa,
        half,
        calibrator.flags,
    )


def _curves(run: Run, part: Part) -> Picture:
    shown = grid_labels(run)
    chosen = part.of(shown)
    after, before = (reliability_curve(chosen.truth, v, chosen.patients) for v in (chosen.q, chosen.raw))
    too_few = too_few_to_judge(chosen.truth)
    drawn = reliability(
        [
            Curve(run.labels[label], after[i], before[i], bool(too_few[i]))
            for i, label in enumerate(shown)
            if after[i]
        ]
    )
    caption = (
        f"{part.sentence}. Ten bins of equally many images: the mean probability of a bin "
        "(across) against the share of its images that have the finding (up), both in per cent, with the share’s 95% "
        "interval by patient. On the dashed line a probability is a risk; below it, probabilities are too high. Blue: "
        "calibrated; orange: the network’s own output. Both scales are stretched near 0 and 100%; what lies beyond "
        "their ends is drawn there. Grey: fewer than 100 positive or 100 negative images, too few to judge the curve."
        f"{selection_note(run, shown)}"
    )
    title = f"Are the probabilities risks? {part.title}"
    return Picture(f"reliability_{part.name}", drawn, title, caption)
