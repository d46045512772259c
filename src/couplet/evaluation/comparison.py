"""Whether one arm's models are better than another's: repeats of the training, patients, and what they can say.

The analysis of multi-reader multi-case studies (Obuchowski and Rockette 1995, Hillis 2007), with arms as modalities,
repeats of the training as readers and patients as cases, and a floor under the variance between repeats that keeps
two or three of them from looking surer than their patients allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from couplet.evaluation.estimate import LEVEL, Estimate, few
from couplet.evaluation.jackknife import METHOD, combined_df, mean_over_labels, on_logit_scale
from couplet.evaluation.leave_one_out import LeaveOneOut, influence
from couplet.evaluation.multiple_tests import benjamini_hochberg, holm
from couplet.evaluation.repeats import Spread, spread

POWER = 0.8  # with which the smallest difference that is printed would be found
REPEATS = 3  # of the training, below which nothing is said about a method
SIGNIFICANT = 0.05  # p-values below it
SAME = "the two give the same on every patient"

Run = Sequence[LeaveOneOut]
"""One run's statistic for each of L labels."""


@dataclass(frozen=True)
class Difference:
    """A statistic of arm A less that of arm B.

    Attributes:
        estimate: the mean over repeats, with its interval or why it has none.
        a, b: each arm's own mean over repeats.
        repeats: of the arm with fewer.
        error: standard error.
        df: its degrees of freedom; infinite where patients alone decide.
        t: the difference over its error.
        p: two-sided; None where there is no test.
        detectable: smallest difference that these repeats and patients would find with probability POWER.
        between_repeats: variance of the repeats' differences, S_D^2; None for one repeat.
        common: variance that all repeats share, C: the patients.
        own: patients' variance that each repeat has of its own, W.
    """

    estimate: Estimate
    a: float
    b: float
    repeats: int
    error: float | None = None
    df: float | None = None
    t: float | None = None
    p: float | None = None
    detectable: float | None = None
    between_repeats: float | None = None
    common: float | None = None
    own: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self) | {"estimate": self.estimate.as_dict()}


@dataclass(frozen=True)
class Comparison:
    """The mean over labels, each label, and which labels (indices) the mean is over."""

    macro: Difference
    per_label: list[Difference]
    labels: list[int]

    def adjusted(self) -> tuple[list[float | None], list[float | None]]:
        """The labels' p-values after Holm, and after Benjamini and Hochberg; None where there is no test."""
        p = np.array([np.nan if one.p is None else one.p for one in self.per_label])
        found = [[None if np.isnan(q) else float(q) for q in rule(p)] for rule in (holm, benjamini_hochberg)]
        return found[0], found[1]


def compare(a: Sequence[Run], b: Sequence[Run], paired: bool = True, level: float = LEVEL) -> Comparison:
    """Compare two arms, label by label and in the mean over labels.

    With D_s the difference at repeat s, V_ss' = sum_g I_sg I_s'g of the patients' influences on D_s and D_s',
    S_D^2 the variance of the D_s: see `couplet.evaluation.repeats`. One repeat: the patient jackknife of D with its t.

    Args:
        a, b: each arm's repeats, of the same images and patients; each repeat has the L labels in the same order.
        paired: repeats at the same place of the two lists share initial weights and batches. If not, the squared
            errors of the two arms' own means are added.
        level: coverage of the intervals.

    Returns:
        The mean is over the labels that have a standard error: a label whose positives are all of one patient has
        none, and would give the mean none.

    Raises:
        ValueError: paired arms of different numbers of repeats, or no repeat.
    """
    if not a or not b or (paired and len(a) != len(b)):
        raise ValueError(f"{len(a)} and {len(b)} repeats cannot be compared")
    n_labels = len(a[0])
    per_label = [
        _difference([[run[i]] for run in a], [[run[i]] for run in b], paired, level) for i in range(n_labels)
    ]
    used = [i for i in range(n_labels) if not any(run[i].reason for run in (*a, *b))]
    if not used:
        nothing = Estimate(None, level=level, reason="no label has a standard error")
        nan = float("nan")
        return Comparison(Difference(nothing, nan, nan, min(len(a), len(b))), per_label, [])
    macro = _difference(
        [[run[i] for i in used] for run in a], [[run[i] for i in used] for run in b], paired, level
    )
    return Comparison(macro, per_label, used)


def mean_of_repeats(runs: Sequence[Run], level: float = LEVEL) -> Estimate:
    """One arm's own mean over labels and repeats, of statistics in [0, 1], with an interval on the logit scale.

    Args:
        runs: the arm's repeats; all their labels have a standard error. There may be no label.
        level: coverage.
    """
    if not runs[0]:
        return Estimate(None, level=level, reason="no label has a standard error")
    found = _spread(runs)
    value = float(np.mean([[label.value for label in run] for run in runs]))
    n_patients = int(np.any([label.known for label in runs[0]], axis=0).sum())
    return on_logit_scale(
        value, found.error**2, found.df, {"level": level, "method": METHOD, "n_patients": n_patients}
    )


def verdict(difference: Difference) -> str:
    """What a comparison allows one to say: one of four sentences.

    Three repeats of the training and more speak about the method, one about the trained models that are there, and
    two about nothing.
    """
    if difference.p is None:
        return f"no verdict: {difference.estimate.reason}"
    significant = difference.p < SIGNIFICANT
    if difference.repeats == 1:
        word = "differ" if significant else "do not differ"
        return f"these two trained ensembles {word} on patients like these; nothing about the method (one repeat)"
    if difference.repeats < REPEATS:
        return "two repeats: not a test"
    if significant:
        return f"{'A' if (difference.estimate.value or 0) > 0 else 'B'} is higher"
    if difference.detectable is None:
        return f"not distinguishable: {SAME}"
    return f"not distinguishable; a difference of {difference.detectable:.4f} would have been found"


# --- one difference -------------------------------------------------------------------------------------------


def _difference(a: Sequence[Run], b: Sequence[Run], paired: bool, level: float) -> Difference:
    """Of the mean over the labels that are given."""
    values_a, values_b = (
        np.array([np.mean([label.value for label in run]) for run in arm]) for arm in (a, b)
    )
    mean_a, mean_b, repeats = float(values_a.mean()), float(values_b.mean()), min(len(a), len(b))
    first = a[0]
    n_positive = first[0].n_positive if len(first) == 1 else None
    about: dict[str, Any] = {
        "level": level,
        "n_images": max(label.n_images for label in first),
        "n_patients": int(np.any([label.known for label in first], axis=0).sum()),
        "n_positive_patients": n_positive,
        "flags": few(n_positive),
        "method": "patient jackknife, t" if repeats == 1 else "repeats and patients, Hillis' df",
    }
    reason = next((label.reason for run in (*a, *b) for label in run if label.reason), "")
    if reason:
        value = None if np.isnan(mean_a - mean_b) else mean_a - mean_b
        return Difference(Estimate(value, reason=reason, **about), mean_a, mean_b, repeats)
    if paired:
        between = [_subtracted(x, y) for x, y in zip(a, b, strict=True)]
        found = _spread(between)
        value = float(np.mean(values_a - values_b))
    else:
        ours, theirs = _spread(a), _spread(b)
        variances = (ours.error**2, theirs.error**2)
        found = replace(
            ours,
            error=float(np.sqrt(sum(variances))),
            df=combined_df(variances, (ours.df, theirs.df)),
            between_repeats=None,
            common=ours.common + theirs.common,
            own=ours.own + theirs.own,
        )
        value = mean_a - mean_b
    return _tested(value, found, mean_a, mean_b, repeats, about)


def _tested(
    value: float, found: Spread, mean_a: float, mean_b: float, repeats: int, about: dict[str, Any]
) -> Difference:
    parts: dict[str, Any] = {
        "error": found.error,
        "between_repeats": found.between_repeats,
        "common": found.common,
        "own": found.own,
    }
    if found.error <= 1e-12:  # scores that rank alike differ by rounding only
        # Without any spread a difference of nothing is as expected as can be; another one cannot be judged.
        nothing = abs(value) <= 1e-12
        estimate = Estimate(0.0 if nothing else value, reason=SAME if nothing else "it never varies", **about)
        return Difference(estimate, mean_a, mean_b, repeats, p=1.0 if nothing else None, **parts)
    t = value / found.error
    quantile, power = (float(stdtrit(found.df, q)) for q in ((1 + about["level"]) / 2, POWER))
    reach = quantile * found.error
    return Difference(
        Estimate(value, value - reach, value + reach, **about),
        mean_a,
        mean_b,
        repeats,
        df=found.df,
        t=t,
        p=float(2 * stdtr(found.df, -abs(t))),
        detectable=(quantile + power) * found.error,
        **parts,
    )


def _subtracted(a: Run, b: Run) -> Run:
    """Of each label the difference, with and without each patient."""
    return [
        replace(x, value=x.value - y.value, without=x.without - y.without) for x, y in zip(a, b, strict=True)
    ]


def _spread(runs: Sequence[Run]) -> Spread:
    """Of the mean over labels, over the repeats."""
    means = [mean_over_labels(list(run)) for run in runs]
    influences = np.stack([influence(without, known) for _, without, known in means])
    df = combined_df([label.variance for label in runs[0]], [label.df for label in runs[0]])
    return spread(np.array([value for value, _, _ in means]), influences @ influences.T, df)
