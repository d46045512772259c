"""How far a threshold itself is known: its spread over resamples of the patients that it was computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from couplet.evaluation.decisions import (
    RANKED,
    Calibrator,
    label_rows,
    point_of_sorted,
    sorted_rows,
)
from couplet.evaluation.hits import checked_codes
from couplet.settings.schema.decision import DecisionParams

RESAMPLES = 200
RANGE = (0.05, 0.95)
_HALVINGS = 60  # of [0, 1]: below the spacing of floats

# How often R resamples have each patient (R, G) -> their calibrators as one, of scores (R, L).
Refit = Callable[[np.ndarray], Calibrator]


class ThresholdRange(NamedTuple):
    """5 % and 95 % quantiles of a label's threshold, each (L,), on the scale of q.

    NaN where no resample gives one; `reached`: the share of the resamples that do.
    """

    low: np.ndarray
    high: np.ndarray
    reached: np.ndarray


def threshold_range(
    rule: str,
    truth: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    patients: np.ndarray,
    folds: np.ndarray,
    targets: DecisionParams,
    to_q: Calibrator,
    seed: int,
    refit: Refit | None = None,
    resamples: int = RESAMPLES,
) -> ThresholdRange:
    """The spread of one rule's thresholds over resamples of patients with replacement.

    A patient drawn twice counts as two patients. For `youden` and `cost` the threshold on q is known or nearly so,
    and what is uncertain is the calibrator: each resample's calibrator says which score p its threshold stands for,
    and today's calibrator says which q this score has.

    Args:
        rule: one of `couplet.evaluation.decisions.RULES`.
        truth, p, q, patients, folds, targets, to_q: as `couplet.evaluation.decisions.operating_points`. The codes of
            patients in the sorted order of their names make the draws the same on every machine.
        seed: of the draws.
        refit: fits the calibrators to the resamples (`couplet.evaluation.refits`; where nothing is fitted it gives
            `to_q`); `youden` and `cost` need it, the others do not use it.
        resamples: R.

    Returns:
        The range of each label.

    Raises:
        ValueError: as `operating_points`, or `refit` is missing.
    """
    patients = checked_codes(patients, len(truth), "patients")
    if rule in ("youden", "cost") and refit is None:
        raise ValueError(f"the range of {rule!r} is the calibrator's: give `refit`")
    draws = _draws(patients, seed, resamples)
    drawn = np.full((resamples, np.shape(truth)[1]), np.nan)
    for label, rows in enumerate(label_rows(truth, p, q, patients, folds)):
        rows = sorted_rows(rule, rows)
        for index, draw in enumerate(draws):
            times = draw[rows.patient].astype(np.int32)
            value = point_of_sorted(rule, rows._replace(times=times), targets).value
            drawn[index, label] = np.nan if value is None else value
    if rule in RANKED:
        drawn = _mapped(to_q, drawn)
    elif rule in ("youden", "cost") and refit is not None:
        drawn = _mapped(to_q, _inverted(refit(draws), drawn))
    return _quantiles(drawn)


def _draws(patients: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """(R, G) how often each resample has each patient; codes that no row has are not drawn.

    In bytes, 200 MB of a million patients: that one of n patients is drawn more than 255 times of n has a probability
    below 1e-500.
    """
    present = np.unique(patients)
    generator = np.random.default_rng(seed)
    draws = np.zeros((resamples, int(patients.max(initial=-1)) + 1), np.uint8)
    for draw in draws:
        chosen = present[generator.integers(0, len(present), len(present))]
        draw += np.bincount(chosen, minlength=len(draw)).astype(np.uint8)
    return draws


def _inverted(calibrator: Calibrator, targets: np.ndarray) -> np.ndarray:
    """The scores p at which a rising calibrator reaches the probabilities `targets` (R, L), by halving [0, 1]."""
    low, high = np.zeros_like(targets), np.ones_like(targets)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = calibrator(middle) < targets
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(np.isnan(targets), np.nan, high)


def _mapped(to_q: Calibrator, scores: np.ndarray) -> np.ndarray:
    """(R, L) scores on the scale of q; NaN stays."""
    return np.where(np.isnan(scores), np.nan, to_q(np.where(np.isnan(scores), 0.5, scores)))


def _quantiles(drawn: np.ndarray) -> ThresholdRange:
    low, high = np.full((2, drawn.shape[1]), np.nan)
    for label, column in enumerate(drawn.T):
        if len(defined := column[~np.isnan(column)]):
            low[label], high[label] = np.quantile(defined, RANGE)
    return ThresholdRange(low, high, (~np.isnan(drawn)).mean(axis=0))
