"""What calling images positive at a threshold achieves, label by label, as rows: no markup."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from couplet.evaluation.estimate import Estimate, Source
from couplet.evaluation.hits import calls
from couplet.evaluation.proportions import mean, proportion
from couplet.evaluation.risk import net_benefit
from couplet.reporting.parts import of_label, positive_patients


class Judgement(NamedTuple):
    """One label's calls at its threshold."""

    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    positive_rate: Estimate
    net_benefit: Estimate
    treat_all: Estimate

    def about(self, flags: tuple[str, ...], source: tuple[Source, ...]) -> Judgement:
        """The same, with flags and source files on every estimate."""
        return Judgement(*(one.flagged(*flags).of(*source) for one in self))


def judgements(
    truth: np.ndarray, q: np.ndarray, patients: np.ndarray, thresholds: np.ndarray
) -> list[Judgement | None]:
    """Judge calling q >= threshold positive; None for a label without a threshold.

    Args:
        truth: (n, L) of 1, 0 or NaN, which takes no part.
        q: (n, L).
        patients: (n,) codes.
        thresholds: (L,), or (n, L) where folds have thresholds of their own; NaN where there is none.
    """
    shares, benefit = calls(truth, q, thresholds), net_benefit(truth, q, thresholds)
    reached = np.isfinite(np.broadcast_to(thresholds, np.shape(truth))).any(axis=0)
    rows: list[Judgement | None] = []
    for label, n_positive in enumerate(positive_patients(truth, patients)):
        found = [proportion(hits[:, label], patients) for hits in shares]
        found += [mean(cells[:, label], patients) for cells in benefit]
        rows.append(Judgement(*(of_label(one, n_positive) for one in found)) if reached[label] else None)
    return rows
