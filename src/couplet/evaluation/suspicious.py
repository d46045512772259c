"""Where the model and the label disagree most: a ranked list, no verdicts.

Not a list of wrong labels: a model trained on the same labeller's errors repeats them, and nothing is relabelled or
dropped because of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logit

PER_LABEL = 50
_CUT = 13.8  # of logits: probabilities of 1e-6 and 1 - 1e-6


class Suspicious(NamedTuple):
    """One row per listed cell, each array (T,): labels in their order, in each the strongest evidence first.

    Attributes:
        label: index of the label.
        rank: from 1.
        row: index of the image.
        given: the label as given, 0 or 1.
        q: its calibrated probability.
        evidence: log of how many times the odds of the other class are what the prevalence says: for a given 1
            logit(prevalence) - logit(q), for a given 0 the negative; comparable between rare and common labels.
        other_in_study: another image of the same study is given the other class.
    """

    label: np.ndarray
    rank: np.ndarray
    row: np.ndarray
    given: np.ndarray
    q: np.ndarray
    evidence: np.ndarray
    other_in_study: np.ndarray


def suspicious(
    truth: np.ndarray, q: np.ndarray, ids: np.ndarray, studies: np.ndarray, per_label: int = PER_LABEL
) -> Suspicious:
    """The cells with the strongest evidence against the given label.

    Args:
        truth: (n, L) of 1, 0 or NaN: as given; unknown cells take no part.
        q: (n, L) calibrated probabilities, cross-fitted: from a model and a calibrator that saw neither.
        ids: (n,) names of the images; of equal evidence the first name comes first.
        studies: (n,) names of the studies; an empty one is no study.
        per_label: rows listed of each label.

    Returns:
        The list; a label with one class only has no prevalence to compare with and is left out.

    >>> truth, q = np.array([[1], [1], [0], [0]]), np.array([[0.9], [0.2], [0.6], [0.1]])
    >>> found = suspicious(truth, q, np.array(["a", "b", "c", "d"]), np.array(["s", "s", "t", "s"]), 2)
    >>> found.row.tolist(), found.evidence.round(4).tolist(), found.other_in_study.tolist()
    ([1, 2], [1.3863, 0.4055], [True, False])
    """
    columns: list[tuple[np.ndarray, ...]] = []
    for label in range(np.shape(truth)[1]):
        evidence = evidence_against(truth[:, label], q[:, label])
        rows = np.flatnonzero(~np.isnan(evidence))
        rows = rows[np.lexsort((ids[rows], -evidence[rows]))][:per_label]
        given = truth[rows, label].astype(np.int64)
        other = _other_in_study(truth[:, label], studies)[rows]
        columns.append(
            (
                np.full(len(rows), label),
                np.arange(1, len(rows) + 1),
                rows,
                given,
                q[rows, label],
                evidence[rows],
                other,
            )
        )
    return Suspicious(*(np.concatenate(parts) for parts in zip(*columns, strict=True)))


def evidence_against(truth: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(n,) evidence against one label's given values (n,); NaN for unknown cells and where one class has none.

    Logits are cut to +-13.8, so that a probability of 0 or 1 is strong evidence and not an infinite one.
    """
    known = ~np.isnan(truth)
    n, n_positive = int(known.sum()), int((truth == 1).sum())
    if not 0 < n_positive < n:
        return np.full(len(truth), np.nan)
    with np.errstate(divide="ignore"):
        against = np.clip(logit(n_positive / n), -_CUT, _CUT) - np.clip(logit(q), -_CUT, _CUT)
    return np.where(known, np.where(truth == 1, against, -against), np.nan)


def _other_in_study(truth: np.ndarray, studies: np.ndarray) -> np.ndarray:
    """(n,) whether an image of the same study is given the other class."""
    names, code = np.unique(np.asarray(studies).astype(np.str_), return_inverse=True)
    has = np.stack([np.bincount(code, truth == y, minlength=len(names)) > 0 for y in (0, 1)])
    other = np.where(truth == 1, has[0, code], has[1, code])
    return other & ~np.isnan(truth) & (names[code] != "")
