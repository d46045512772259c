"""Operating points: six rules that give each label a threshold, from out-of-fold rows alone.

What optimises is computed from calibrated probabilities q, what promises from the ranks of the uncalibrated scores p:
a search on labels costs more than the calibrated rule, and a plain quantile of the positives misses the sensitivity
that it names. A call is positive at or above the threshold. n images, L labels; out of fold throughout.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from typing import NamedTuple

import numpy as np

from couplet.evaluation.hits import checked_codes
from couplet.settings.schema.decision import DecisionParams

RULES = ("youden", "f1", "cost", "prevalence", "sensitivity", "specificity")
RANKED = ("sensitivity", "specificity")  # their thresholds are found on the scale of p

# Counts that are equal on paper differ in the last digits: 1/3 + 1/3 + 1/3, 1 - 0.9. Different ones differ by far more.
TIE = 1e-7

# (..., L) scores p -> calibrated probabilities q, to the digit as the images' own q were made from theirs.
Calibrator = Callable[[np.ndarray], np.ndarray]


class Point(NamedTuple):
    """A threshold, or None and the reason why there is none."""

    value: float | None
    reason: str | None = None


class LabelRows(NamedTuple):
    """The rows of one label that are known, each (m,)."""

    positive: np.ndarray  # bool
    p: np.ndarray  # score of the fold's own model
    q: np.ndarray  # cross-fitted calibrated probability
    weight: np.ndarray  # 1 / images that the row's patient has in its fold with the row's class
    patient: np.ndarray  # code
    times: np.ndarray  # how often a resample of patients has the row; 1 for the data themselves


def operating_points(
    truth: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    patients: np.ndarray,
    folds: np.ndarray,
    targets: DecisionParams,
    to_q: Calibrator,
) -> dict[str, list[Point]]:
    """The threshold of each rule and label on the scale of q.

    youden: q >= prevalence (a likelihood ratio of at least 1, which is what maximises Youden's J of calibrated q).
    f1: the q_(k), falling, that maximises 2 sum_{j<=k} q_(j) / (k + sum q), the expected F1 (Lipton 2014).
    cost: q >= 1 / (1 + cost_ratio). prevalence: the q that calls as many images as are positive.
    sensitivity: the smallest p with (1 + weights of the positives at or below p) / (M + 1) > 1 - target, M the
    patients with a positive: a positive of a new patient stands at or above it with probability >= target (a conformal
    p-value of class 1, see `couplet.evaluation.sets`). specificity: the same for the negatives, from above.

    Args:
        truth: (n, L) of 1, 0 or NaN; unknown cells take no part.
        p: (n, L) scores in [0, 1] of each row's own fold's model.
        q: (n, L) calibrated probabilities, cross-fitted.
        patients: (n,) codes from 0.
        folds: (n,) codes from 0 of the folds whose models gave p.
        targets: sensitivity, specificity and cost_ratio are read.
        to_q: maps p to q, for the thresholds of the two rules that rank p.

    Returns:
        Of each rule L points.

    Raises:
        ValueError: patients or folds are not codes.
    """
    points: dict[str, list[Point]] = {rule: [] for rule in RULES}
    for rows in label_rows(truth, p, q, patients, folds):
        for rule in RULES:
            points[rule].append(rule_point(rule, rows, targets))
    for rule in RANKED:
        points[rule] = on_q(points[rule], to_q)
    return points


def cross_fitted_thresholds(
    truth: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    patients: np.ndarray,
    folds: np.ndarray,
    targets: DecisionParams,
    to_q: Mapping[int, Calibrator],
) -> dict[str, np.ndarray]:
    """Thresholds for judging out-of-fold rows: fold k is judged by the thresholds of the other folds' rows.

    Args:
        truth, p, q, patients, folds, targets: as `operating_points`. With a single fold the parts that its
            calibrator was cross-fitted over take the place of `folds`.
        to_q: of each fold the calibrator that gave its rows their q.

    Returns:
        Of each rule (n, L) the threshold of each row, NaN where there is none.

    Raises:
        ValueError: as `operating_points`, or there is one fold only.
    """
    present = np.unique(checked_codes(folds, len(truth), "folds"))
    if len(present) < 2:
        raise ValueError("thresholds are cross-fitted over at least two folds or parts")
    thresholds = {rule: np.full(np.shape(truth), np.nan) for rule in RULES}
    for fold in present:
        others, own = folds != fold, folds == fold
        points = operating_points(
            truth[others], p[others], q[others], patients[others], folds[others], targets, to_q[int(fold)]
        )
        for rule in RULES:
            thresholds[rule][own] = values(points[rule])
    return thresholds


def values(points: list[Point]) -> np.ndarray:
    """(L,) thresholds, NaN where there is none."""
    return np.array([np.nan if point.value is None else point.value for point in points])


def on_q(points: list[Point], to_q: Calibrator) -> list[Point]:
    """Points on the scale of p, moved to that of q."""
    thresholds = values(points)
    mapped = to_q(np.where(np.isnan(thresholds), 0.5, thresholds))
    return [
        point if point.value is None else Point(float(value))
        for point, value in zip(points, mapped, strict=True)
    ]


def label_rows(
    truth: np.ndarray, p: np.ndarray, q: np.ndarray, patients: np.ndarray, folds: np.ndarray
) -> list[LabelRows]:
    """The known rows of each label, for `rule_point`."""
    patients, folds = (
        checked_codes(codes, len(truth), name) for codes, name in ((patients, "patients"), (folds, "folds"))
    )
    rows = []
    for label in range(np.shape(truth)[1]):
        known = ~np.isnan(truth[:, label])
        positive, who = truth[known, label] == 1, patients[known]
        weight = patient_weights(who, folds[known], positive)
        rows.append(LabelRows(positive, p[known, label], q[known, label], weight, who, np.ones(len(who))))
    return rows


def patient_weights(*codes: np.ndarray) -> np.ndarray:
    """(m,) 1 / number of rows that share all of a row's codes, each (m,).

    >>> patient_weights(np.array([4, 4, 7, 4]), np.array([0, 0, 0, 1])).tolist()
    [0.5, 0.5, 1.0, 1.0]
    """
    key = np.zeros(len(codes[0]), np.int64)
    for code in codes:
        key = key * (int(code.max(initial=0)) + 1) + code
    return 1 / np.bincount(key)[key]


def rule_point(rule: str, rows: LabelRows, targets: DecisionParams) -> Point:
    """The threshold that one rule gives one label: on the scale of p for the RANKED rules, else of q."""
    return point_of_sorted(rule, sorted_rows(rule, rows), targets)


def sorted_rows(rule: str, rows: LabelRows) -> LabelRows:
    """The rows that a rule looks at, in the order in which it does: only one class for the RANKED rules."""
    if rule == "sensitivity":
        order = np.flatnonzero(rows.positive)[np.argsort(rows.p[rows.positive], kind="stable")]
    elif rule == "specificity":
        order = np.flatnonzero(~rows.positive)[np.argsort(-rows.p[~rows.positive], kind="stable")]
    else:
        order = np.argsort(-rows.q, kind="stable")
    return LabelRows(*(column[order] for column in rows))


def point_of_sorted(rule: str, rows: LabelRows, targets: DecisionParams) -> Point:
    """As `rule_point`, for rows that `sorted_rows` gave."""
    if rule == "cost":
        return Point(1 / (1 + targets.cost_ratio))
    if rule == "sensitivity":
        return _kept_from(rows, targets.sensitivity)
    if rule == "specificity":
        # What is kept in the class of the negatives stands below the threshold.
        point = _kept_from(rows, targets.specificity)
        return point if point.value is None else Point(just_above(point.value))
    if rule == "f1":
        return _highest_expected_f1(rows)
    n_positive, n_known = rows.times @ rows.positive, rows.times.sum()
    if not 0 < n_positive < n_known:
        return Point(None, "no positive image" if not n_positive else "no negative image")
    if rule == "youden":
        return Point(float(n_positive / n_known))
    return Point(float(rows.q[np.searchsorted(np.cumsum(rows.times), n_positive)]))


def _highest_expected_f1(rows: LabelRows) -> Point:
    expected = rows.times @ rows.q
    if not expected > 0:
        return Point(None, "no probability above 0")
    f1 = 2 * np.cumsum(rows.times * rows.q) / (np.cumsum(rows.times) + expected)
    return Point(float(rows.q[np.argmax(f1)]))


def _kept_from(rows: LabelRows, target: float) -> Point:
    """The first score of a class's rows whose conformal p-value is above 1 - target."""
    cumulative = np.cumsum(rows.times * rows.weight)
    n_patients = round(float(cumulative[-1])) if len(cumulative) else 0
    needed = max(math.ceil(1 / (1 - target) - 1 - TIE), 1)
    if n_patients < needed:
        return Point(
            None, f"not reachable: {n_patients} patients have an image of the class, {needed} needed"
        )
    # Of tied scores the first that passes is in the group whose last passes.
    passes = 1 + cumulative > (1 - target) * (n_patients + 1) + TIE
    return Point(float(rows.p[np.argmax(passes)]))


def just_above(score: float) -> float:
    """The next number of 9 significant digits above `score`, which is how finely scores are written.

    >>> just_above(0.25), just_above(1.0)
    (0.250000001, 1.00000001)
    """
    return max(float(Context(prec=9).next_plus(Decimal(f"{score:.9g}"))), sys.float_info.min)
