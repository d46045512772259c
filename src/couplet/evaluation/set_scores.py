"""What prediction sets achieved where the truth is known: coverage per class, abstention, errors of sure sets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from couplet.evaluation.hits import among
from couplet.evaluation.sets import ABSENT, BOTH, NEITHER, PRESENT


class SetScores(NamedTuple):
    """Hits (n, L) of 1, 0 or NaN, as in `couplet.evaluation.hits`.

    Attributes:
        coverage_present, coverage_absent: cells of the class whose set has the class. The promise is for a random
            image of a random patient: the mean of `couplet.evaluation.hits.patient_shares` counts so.
        singletons, both, neither: known cells with such a set.
        singleton_errors: cells with one class in the set, where that is the wrong one.
        ppv: sets {present} whose label is present. npv: sets {absent} whose label is absent.
    """

    coverage_present: np.ndarray
    coverage_absent: np.ndarray
    singletons: np.ndarray
    both: np.ndarray
    neither: np.ndarray
    singleton_errors: np.ndarray
    ppv: np.ndarray
    npv: np.ndarray


def set_scores(truth: np.ndarray, decision: np.ndarray) -> SetScores:
    """Judge sets cell by cell. For a subgroup or a category give its rows only.

    Args:
        truth: (n, L) of 1, 0 or NaN; unknown cells count nowhere.
        decision: (n, L) as `couplet.evaluation.sets.prediction_sets` gives it.

    Returns:
        Hits of each share.

    >>> scores = set_scores(np.array([[1], [1], [0], [0]]), np.array([[1], [0], [2], [1]]))
    >>> from couplet.evaluation.hits import share
    >>> [share(hits).tolist() for hits in (scores.coverage_present, scores.coverage_absent, scores.ppv)]
    [[0.5], [0.5], [0.5]]
    """
    positive, negative = truth == 1, truth == 0
    known = positive | negative
    present, absent, both = decision == PRESENT, decision == ABSENT, decision == BOTH
    single = present | absent
    return SetScores(
        coverage_present=among(present | both, positive),
        coverage_absent=among(absent | both, negative),
        singletons=among(single, known),
        both=among(both, known),
        neither=among(decision == NEITHER, known),
        singleton_errors=among((present & negative) | (absent & positive), known & single),
        ppv=among(positive, known & present),
        npv=among(negative, known & absent),
    )


def all_labels_right(truth: np.ndarray, decision: np.ndarray) -> np.ndarray:
    """(n, 1) hits: whether all known cells of an image have the true class in their set, which is not promised."""
    scores = set_scores(truth, decision)
    wrong = (scores.coverage_present == 0) | (scores.coverage_absent == 0)
    return among(~wrong.any(axis=1, keepdims=True), (~np.isnan(truth)).any(axis=1, keepdims=True))
