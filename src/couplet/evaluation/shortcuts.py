"""What an attribute alone contributes to an AUC: how far the score only tells views, sexes or devices apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from couplet.evaluation.metrics import auc_per_label

ATTENTION = 0.02  # pooled - within, of the macro-AUC, from which the first screen says so


class Shortcuts(NamedTuple):
    """AUCs, (L,) each; NaN where there is no pair to compare.

    Attributes:
        pooled: of all pairs of a positive and a negative.
        within: of the pairs with equal attribute. pooled - within is what the attribute contributes.
        attribute_only: of a predictor that knows the attribute and nothing of the image.
    """

    pooled: np.ndarray
    within: np.ndarray
    attribute_only: np.ndarray

    def macro(self) -> tuple[float, float, float]:
        """Means over the labels that have all three; NaN if none has."""
        table = np.stack(self)
        defined = ~np.isnan(table).any(axis=0)
        if not defined.any():
            return (float("nan"),) * 3
        pooled, within, attribute_only = table[:, defined].mean(axis=1).tolist()
        return pooled, within, attribute_only

    def attention(self) -> bool:
        """Whether the attribute contributes more than 0.02 to the macro-AUC."""
        pooled, within, _ = self.macro()
        return pooled - within > ATTENTION


def shortcuts(truth: np.ndarray, scores: np.ndarray, attribute: np.ndarray, folds: np.ndarray) -> Shortcuts:
    """Pooled AUC, AUC within the attribute, and AUC of the attribute alone.

    Args:
        truth: (n, L) of 1, 0 or NaN.
        scores: (n, L).
        attribute: (n,) values, for example views.
        folds: (n,) over which the attribute's own predictor is cross-fitted.

    Raises:
        ValueError: as `couplet.evaluation.metrics.auc_per_label`.

    View a has scores .9 (positive) and .8, view b .3 (positive) and .1: perfect within views, not between them.

    >>> view, fold = np.array(["a", "a", "b", "b"]), np.array([0, 1, 0, 1])
    >>> result = shortcuts(np.array([[1], [0], [1], [0]]), np.array([[0.9], [0.8], [0.3], [0.1]]), view, fold)
    >>> result.pooled.tolist(), result.within.tolist()
    ([0.75], [1.0])
    """
    return Shortcuts(
        auc_per_label(truth, scores),
        auc_within(truth, scores, attribute),
        auc_within(truth, attribute_predictor(truth, attribute, folds), folds),
    )


def auc_within(truth: np.ndarray, scores: np.ndarray, attribute: np.ndarray) -> np.ndarray:
    """(L,) sum_s m_s n_s AUC_s / sum_s m_s n_s over the attribute's values s (Janes and Pepe 2008).

    Only pairs of equal attribute count; NaN for a label without such a pair.
    """
    beaten, pairs = np.zeros((2, np.shape(truth)[1]))
    for value in np.unique(attribute):
        rows = attribute == value
        n_pairs = (truth[rows] == 1).sum(axis=0) * (truth[rows] == 0).sum(axis=0)
        beaten += np.where(n_pairs > 0, auc_per_label(truth[rows], scores[rows]), 0) * n_pairs
        pairs += n_pairs
    return np.divide(beaten, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def attribute_predictor(truth: np.ndarray, attribute: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """(n, L) the prevalence among the other folds' images of equal attribute.

    A value without a known cell in the other folds gets their whole prevalence, and 1/2 if that is unknown too.
    """
    prevalence = np.empty(np.shape(truth))
    known, positive = ~np.isnan(truth), truth == 1
    for fold in np.unique(folds):
        others, own = folds != fold, folds == fold
        overall = _share(positive[others], known[others], np.full(np.shape(truth)[1], 0.5))
        for value in np.unique(attribute[own]):
            alike = others & (attribute == value)
            prevalence[own & (attribute == value)] = _share(positive[alike], known[alike], overall)
    return prevalence


def _share(positive: np.ndarray, known: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    n = known.sum(axis=0)
    return np.where(n > 0, positive.sum(axis=0) / np.maximum(n, 1), otherwise)
