"""What decisions cost: net benefit at a threshold, and the errors that remain when the unsure cells are left aside.

n images, L labels, G patients. For selective prediction every known cell (image, label) is one decision; cells are
kept by the smallest estimated error, which for a threshold of 1/2 is min(q, 1 - q).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from couplet.evaluation.hits import among, checked_codes

POINTS = 21  # coverage 0, 0.05, ... 1


class NetBenefit(NamedTuple):
    """Benefit of each cell, (n, L), NaN where it does not count; its mean is the net benefit. Treating nobody has 0."""

    rule: np.ndarray
    treat_all: np.ndarray


class RiskRow(NamedTuple):
    """One point of the risk-coverage curve."""

    coverage: float  # share of the cells kept
    kept: int
    errors: float  # among the kept; a fraction where tied cells are kept in part
    risk: float  # errors / kept, NaN for none
    generalised_risk: float  # errors / all cells


def net_benefit(truth: np.ndarray, q: np.ndarray, thresholds: np.ndarray) -> NetBenefit:
    """TP/n - FP/n * t/(1-t) of calling q >= t, and of calling every image (Vickers and Elkin 2006).

    Args:
        truth: (n, L) of 1, 0 or NaN; unknown cells take no part.
        q: (n, L) calibrated probabilities.
        thresholds: (L,) or (n, L) in [0, 1); NaN where there is none, whose cells are left out. At 1 a false alarm
            would outweigh everything: such cells are left out too.

    Returns:
        Benefit per cell, each column as `couplet.evaluation.proportions.mean` takes it.

    >>> from couplet.evaluation.hits import share
    >>> truth, q = np.array([[1]] * 4 + [[0]] * 6), np.array([[0.9]] * 3 + [[0.1]] + [[0.8]] * 2 + [[0.1]] * 4)
    >>> [share(benefit).round(4).tolist() for benefit in net_benefit(truth, q, np.array([0.2]))]
    [[0.25], [0.25]]
    """
    threshold = np.broadcast_to(thresholds, np.shape(truth))
    counts = ~np.isnan(truth) & (threshold < 1)
    odds = np.where(counts, threshold, 0.0)
    odds = odds / (1 - odds)
    benefit = np.where(truth == 1, 1.0, -odds)
    return NetBenefit(among(benefit * (q >= threshold), counts), among(benefit, counts))


def estimated_error(q: np.ndarray, thresholds: np.ndarray | float = 0.5) -> np.ndarray:
    """(n, L) the probability, according to q, that calling q >= threshold is wrong."""
    return np.where(q >= thresholds, 1 - q, q)


def decision_errors(
    truth: np.ndarray, q: np.ndarray, thresholds: np.ndarray | float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """(n, L) which cells are known, and which of them the call q >= threshold gets wrong."""
    return ~np.isnan(truth), ((q >= thresholds) != (truth == 1)) & ~np.isnan(truth)


def risk_coverage(
    truth: np.ndarray,
    q: np.ndarray,
    thresholds: np.ndarray | float = 0.5,
    unsure: np.ndarray | None = None,
) -> list[RiskRow]:
    """Errors among the surest cells, at 21 shares kept.

    Args:
        truth: (n, L) of 1, 0 or NaN; unknown cells take no part.
        q: (n, L) calibrated probabilities.
        thresholds: one, (L,) or (n, L).
        unsure: (n, L) what cells are kept by, smallest first; the estimated error if not given. Cells that tie are
            kept in equal parts, so that their order does not matter.

    Returns:
        Rows of rising coverage; none without known cells.
    """
    known, wrong = decision_errors(truth, q, thresholds)
    order = estimated_error(q, thresholds) if unsure is None else unsure
    n = int(known.sum())
    if not n:
        return []
    kept, errors = running_errors(order[known], wrong[known])
    rows = []
    for coverage in np.linspace(0, 1, POINTS).round(2).tolist():
        count = round(coverage * n)
        among = float(np.interp(count, kept, errors))
        rows.append(RiskRow(coverage, count, among, among / count if count else float("nan"), among / n))
    return rows


def augrc(
    truth: np.ndarray,
    q: np.ndarray,
    thresholds: np.ndarray | float = 0.5,
    unsure: np.ndarray | None = None,
) -> float:
    """Area under the generalised risk-coverage curve: mean over kept counts j of errors among the first j / n.

    The average risk of an undetected error (Traub et al. 2024): unlike AURC, a few surest cells do not dominate.

    Args:
        truth, q, thresholds, unsure: as `risk_coverage`.

    Returns:
        A number in [0, 1], half the error rate for a random order; NaN without known cells.

    Four cells, the third surest wrong: (0 + 0 + 1 + 1) / 4 / 4.

    >>> augrc(np.array([[1], [0], [0], [1]]), np.array([[0.9], [0.2], [0.7], [0.6]]))
    0.125
    """
    known, wrong = decision_errors(truth, q, thresholds)
    order = estimated_error(q, thresholds) if unsure is None else unsure
    n = int(known.sum())
    if not n:
        return float("nan")
    kept, errors = running_errors(order[known], wrong[known])
    return float(np.interp(np.arange(1, n + 1), kept, errors).sum() / n**2)


def augrc_without_each_patient(
    truth: np.ndarray,
    q: np.ndarray,
    patients: np.ndarray,
    thresholds: np.ndarray | float = 0.5,
) -> np.ndarray:
    """(G',) AUGRC after leaving out each patient who has a known cell: for a jackknife.

    n^2 AUGRC is a sum over pairs of cells: each error counts the cells that are no surer than itself, itself
    included and ties by half. A patient takes away the pairs that its cells are part of.
    """
    known, wrong = decision_errors(truth, q, thresholds)
    who = np.broadcast_to(checked_codes(patients, len(truth), "patients")[:, None], known.shape)[known]
    _, who = np.unique(who, return_inverse=True)
    unsure, error = estimated_error(q, thresholds)[known], wrong[known].astype(np.float64)
    n, everyone = len(unsure), np.zeros(len(unsure), np.int64)
    total = error * _at_least_as_unsure(unsure, everyone)
    reached = _errors_no_less_sure(unsure, error, everyone)
    within = error * _at_least_as_unsure(unsure, who)
    lost, left = np.bincount(who, total + reached - within), n - np.bincount(who)
    return np.divide(total.sum() - lost, left**2.0, out=np.full(len(left), np.nan), where=left > 0)


def running_errors(unsure: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells kept and errors among them, from (0, 0), at the end of each group of tied cells."""
    order = np.argsort(unsure, kind="stable")
    last = np.flatnonzero(np.append(np.diff(unsure[order]) > 0, True))
    return np.append(0, last + 1), np.append(0, np.cumsum(wrong[order])[last])


def _at_least_as_unsure(unsure: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Of each cell: cells of its group that are less sure, plus itself, plus half of the others that tie."""
    _, end, first, last = _tie_groups(unsure, group)
    return (end - last) + (last - first + 1) / 2


def _errors_no_less_sure(unsure: np.ndarray, error: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Of each cell: errors of its group that are surer, plus its own, plus half of the others that tie."""
    start, _, first, last = _tie_groups(unsure, group)
    running = np.append(0.0, np.cumsum(error[np.lexsort((unsure, group))]))
    surer, tied = running[first] - running[start], running[last] - running[first]
    return surer + (tied + error) / 2


def _tie_groups(unsure: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of each cell, in the order (group, unsure): where its group starts and ends, and where its ties do."""
    order = np.lexsort((unsure, group))
    new_group = np.diff(group[order], prepend=-1) != 0
    new_tie = new_group | (np.diff(unsure[order], prepend=np.nan) != 0)
    bounds = []
    for new in (new_group, new_tie):
        starts = np.append(np.flatnonzero(new), len(order))
        which = np.cumsum(new) - 1
        position = np.empty((2, len(order)), np.int64)
        position[:, order] = starts[which], starts[which + 1]
        bounds += list(position)
    return tuple(bounds)
