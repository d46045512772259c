"""Subgroups: who is in which, which are large enough to be scored, and how a group differs from the rest.

A difference is not a bias: AUC, PPV and Brier score move with prevalence and case mix. n images, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from couplet.evaluation.hits import checked_codes
from couplet.evaluation.ordering import n_different

MIN_PATIENTS = 50  # of a group that is shown
MIN_CLASS_PATIENTS = 10  # with a positive, and with a negative, of a label that is scored in it
UNKNOWN = "unknown"
AGE_BANDS = ("< 40", "40-59", "60-79", ">= 80", UNKNOWN)
_AGE_LIMITS = (40, 60, 80)


@dataclass(frozen=True)
class Group:
    """The images that share a value of an attribute.

    Attributes:
        attribute, value: for example "view", "PA".
        rows: (n,) True for its images.
        n_images, n_patients: how many.
        shown: it has at least 50 patients.
        positive_patients, negative_patients: (L,) patients with a known cell of the class.
        scored: (L,) the labels whose numbers are shown: at least 10 patients of each class, in a group that is shown.
    """

    attribute: str
    value: str
    rows: np.ndarray
    n_images: int
    n_patients: int
    shown: bool
    positive_patients: np.ndarray
    negative_patients: np.ndarray
    scored: np.ndarray


@dataclass(frozen=True)
class Contrast:
    """A number in a group minus the same among the rest, each (L,): with the jackknife's error and p-value."""

    difference: np.ndarray
    standard_error: np.ndarray
    p_value: np.ndarray


def age_bands(ages: np.ndarray) -> np.ndarray:
    """(n,) band of each age in years; not a number: unknown.

    >>> age_bands(np.array([39.9, 40, 79, 80, np.nan])).tolist()
    ['< 40', '40-59', '60-79', '>= 80', 'unknown']
    """
    ages = np.asarray(ages, dtype=np.float64)
    band = np.where(np.isnan(ages), len(_AGE_LIMITS) + 1, np.searchsorted(_AGE_LIMITS, ages, side="right"))
    return np.array(AGE_BANDS, dtype=object)[band]


def named(values: np.ndarray) -> np.ndarray:
    """(n,) texts, an empty one as unknown."""
    texts = np.asarray(values, dtype=object)
    return np.array([str(text) if str(text) else UNKNOWN for text in texts], dtype=object)


def groups_of(attributes: Mapping[str, np.ndarray], truth: np.ndarray, patients: np.ndarray) -> list[Group]:
    """The groups of each attribute: values sorted, ages in their order, unknown last.

    Args:
        attributes: name -> (n,) texts: sex, age (as `age_bands`), view, named columns (`named`).
        truth: (n, L) of 1, 0 or NaN.
        patients: (n,) codes from 0.

    Raises:
        ValueError: patients are not codes.

    >>> view = np.array(["PA"] * 60 + ["AP"] * 20, dtype=object)
    >>> groups = groups_of({"view": view}, np.tile([[1], [0]], (40, 1)), np.arange(80))
    >>> [(group.value, group.n_patients, group.shown, group.scored.tolist()) for group in groups]
    [('AP', 20, False, [False]), ('PA', 60, True, [True])]
    """
    patients = checked_codes(patients, len(truth), "patients")
    groups = []
    for attribute, values in attributes.items():
        for value in _in_order(set(values)):
            rows = np.asarray(values == value)
            n_patients = n_different(patients[rows])
            positive, negative = (_patients_with(truth[rows] == y, patients[rows]) for y in (1, 0))
            shown = n_patients >= MIN_PATIENTS
            scored = shown & (np.minimum(positive, negative) >= MIN_CLASS_PATIENTS)
            groups.append(
                Group(attribute, value, rows, int(rows.sum()), n_patients, shown, positive, negative, scored)
            )
    return groups


def contrast(
    value: np.ndarray,
    without: np.ndarray,
    rest_value: np.ndarray,
    rest_without: np.ndarray,
    known: np.ndarray,
    n_patients: np.ndarray,
) -> Contrast:
    """A number in a group minus the same among the rest, by the jackknife over patients, who may have images in both.

    Args:
        value, rest_value: (L,) the number in the group and among the rest.
        without, rest_without: (G, L) the same after leaving out each patient, for example from
            `couplet.evaluation.leave_one_out` with the other part's cells made unknown.
        known: (G, L) patients with a cell in the group or the rest, N of them.
        n_patients: (L,) patients in the smaller part (for an AUC: of the rarer class); less one they are t's degrees
            of freedom.

    Returns:
        The difference, the root of (N-1)/N sum (theta_(-g) - mean)^2, and the two-sided p-value of t, without a
        correction for many tests; NaN where undefined. Parts that are equal and that no patient moves do not differ.

    Two patients in the group with values 1 and 0, two in the rest with 1 and 1:

    >>> inside, rest = np.array([[0.0], [1.0], [0.5], [0.5]]), np.ones((4, 1))
    >>> result = contrast(np.array([0.5]), inside, np.ones(1), rest, np.ones((4, 1), bool), np.array([2]))
    >>> result.difference.tolist(), result.standard_error.round(4).tolist(), result.p_value.round(4).tolist()
    ([-0.5], [0.6124], [0.5641])
    """
    left_out = np.where(known, without - rest_without, 0.0)
    n = known.sum(axis=0)
    mean = left_out.sum(axis=0) / np.maximum(n, 1)
    squares = np.where(known, (left_out - mean) ** 2, 0.0).sum(axis=0)
    error = np.where(n > 1, np.sqrt((n - 1) / np.maximum(n, 1) * squares), np.nan)
    difference = np.asarray(value - rest_value, dtype=np.float64)
    t = np.full(len(difference), np.nan)
    t[(difference == 0) & (error == 0)] = 0.0
    moves = error > 0
    t[moves] = difference[moves] / error[moves]
    p_value = np.where(n_patients > 1, 2 * stdtr(np.maximum(n_patients - 1, 1), -np.abs(t)), np.nan)
    return Contrast(difference, error, p_value)


def _patients_with(cells: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """(L,) patients with at least one true cell."""
    return np.array([n_different(patients[column]) for column in cells.T], dtype=np.int64)


def _in_order(values: set[str]) -> list[str]:
    if values <= set(AGE_BANDS):
        return [band for band in AGE_BANDS if band in values]
    return sorted(values, key=lambda value: (value == UNKNOWN, value))
