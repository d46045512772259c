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
        each: the difference at each repeat, D_s; empty where repeats are not paired.
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
    each: tuple[float, ...] = ()
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


def compare(
    a: Sequence[Run],
    b: Sequence[Run],
    paired: bool = True,
    level: float = LEVEL,
    scored: np.ndarray | None = None,
) -> Comparison:
    """Compare two arms, label by label and in the mean over labels.

    With D_s the difference at repeat s, V_ss' = sum_g I_sg I_s'g of the patients' influences on D_s and D_s',
    S_D^2 the variance of the D_s: see `couplet.evaluation.repeats`. One repeat: the patient jackknife of D with its t.

    Args:
        a, b: each arm's repeats, of the same images and patients; each repeat has the L labels in the same order.
        paired: repeats at the same place of the two lists share initial weights and batches. If not, the squared
            errors of the two arms' own means are added.
        level: coverage of the intervals.
        scored: (L,) labels that may be in the mean (inference.unscored); None: all.

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
    told = range(n_labels) if scored is None else np.flatnonzero(scored).tolist()
    used = [i for i in told if not any(run[i].reason for run in (*a, *b))]
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
        runs: the arm's repeats. There may be no label.
        level: coverage.

    Returns:
        Without an interval, for its reason, if a label has no standard error.
    """
    if not runs[0]:
        return Estimate(None, level=level, reason="no label has a standard error")
    value = float(np.mean([[label.value for label in run] for run in runs]))
    about = _about(runs[0], level)
    if reason := _reason(runs):
        return Estimate(None if np.isnan(value) else value, reason=reason, **about)
    found = _spread(runs)
    return on_logit_scale(value, found.error**2, found.df, about | {"method": METHOD})


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
    method = "patient jackknife, t" if repeats == 1 else "repeats and patients, Hillis' df"
    each = tuple((values_a - values_b).tolist()) if paired else ()
    value, reason = mean_a - mean_b, _reason((*a, *b))
    estimate = Estimate(
        None if np.isnan(value) else value, reason=reason or SAME, method=method, **_about(a[0], level)
    )
    untested = Difference(estimate, mean_a, mean_b, repeats, each)
    if reason:
        return untested
    if paired:
        return _tested(untested, value, _spread([_subtracted(x, y) for x, y in zip(a, b, strict=True)]))
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
    return _tested(untested, value, found)


def _about(run: Run, level: float) -> dict[str, Any]:
    """What an estimate of the mean over these labels says of itself."""
    n_positive = run[0].n_positive if len(run) == 1 else None
    return {
        "level": level,
        "n_images": max(label.n_images for label in run),
        "n_patients": int(np.any([label.known for label in run], axis=0).sum()),
        "n_positive_patients": n_positive,
        "flags": few(n_positive),
    }


def _reason(runs: Sequence[Run]) -> str:
    """Why one of the labels has no standard error; empty if all have one."""
    return next((label.reason for run in runs for label in run if label.reason), "")


def _tested(untested: Difference, value: float, found: Spread) -> Difference:
    """With its standard error and what follows from it."""
    estimate = untested.estimate
    parts = {name: getattr(found, name) for name in ("error", "between_repeats", "common", "own")}
    measured = replace(untested, **parts)
    if found.error <= 1e-12:  # scores that rank alike differ by rounding only
        # Without any spread a difference of nothing is as expected as can be; another one cannot be judged.
        if abs(value) > 1e-12:
            return replace(measured, estimate=replace(estimate, reason="it never varies"))
        return replace(measured, estimate=replace(estimate, value=0.0), p=1.0)
    t = value / found.error
    quantile, power = (float(stdtrit(found.df, q)) for q in ((1 + estimate.level) / 2, POWER))
    reach = quantile * found.error
    return replace(
        measured,
        estimate=replace(estimate, low=value - reach, high=value + reach, reason=""),
        df=found.df,
        t=t,
        p=float(2 * stdtr(found.df, -abs(t))),
        detectable=(quantile + power) * found.error,
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
