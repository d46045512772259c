"""Does leaving unsure cells aside pay more with couplings: the share of cells decided at equal error."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import stdtrit

from couplet.evaluation.calibration.fitting import patient_parts
from couplet.evaluation.estimate import LEVEL, Estimate
from couplet.evaluation.risk import decision_errors, estimated_error, running_errors

COVERAGE = 0.8  # of the cells, the surest, whose error without couplings is the error that both are asked for
GROUPS = 50  # of patients, left out one by one for the interval


def coverage_gain(
    truth: np.ndarray, with_them: np.ndarray, without: np.ndarray, patients: np.ndarray, level: float = LEVEL
) -> Estimate:
    """How many more of the cells couplings decide at the error that calibration alone has on its surest 80 %.

    A cell (image, label) is decided as q >= 1/2 says; cells are kept from the smallest min(q, 1 - q) on. With e the
    share of errors among the 80 % that `without` keeps first, each arm's coverage is the largest share that it can keep
    with at most that error, and the gain their difference. Our own reading of coverage at equal error.

    Args:
        truth: (n, L) of 0, 1 or NaN; unknown cells take no part.
        with_them, without: (n, L) probabilities of the same images.
        patients: (n,) of each image.
        level: coverage of the interval: jackknife over up to 50 groups of patients (Kott 2001), since a share that is
            found by ordering jumps where one patient is left out; e is found again without each.

    Returns:
        In [-1, 1], above 0 where couplings decide more.

    Ten cells in the order of `without`, the last two wrong: e = 0 at 8 of 10. Couplings find one of these two.

    >>> truth, without = np.array([[1.0]] * 8 + [[0.0]] * 2), np.linspace(0.99, 0.6, 10)[:, None]
    >>> with_them = without.copy()
    >>> with_them[8] = 0.3
    >>> round(coverage_gain(truth, with_them, without, np.arange(10)).value, 4)
    0.1
    """
    known = ~np.isnan(truth)
    who = np.broadcast_to(patient_parts(patients, GROUPS)[:, None], truth.shape)[known]
    arms = []
    for q in (with_them, without):
        unsure, wrong = estimated_error(q)[known], decision_errors(truth, q)[1][known]
        order = np.argsort(unsure, kind="stable")
        arms.append((unsure[order], wrong[order], who[order]))

    def gained(left_out: int = -1) -> float:
        curves = []
        for unsure, wrong, group in arms:
            kept = group != left_out
            curves.append(running_errors(unsure[kept], wrong[kept]))
        ends, errors = curves[1]
        first = COVERAGE * ends[-1]
        error = float(np.interp(first, ends, errors)) / first
        shares = [float(ends[errors <= error * ends + 1e-9].max() / ends[-1]) for ends, errors in curves]
        return float(shares[0] - shares[1])

    named = patients[known.any(axis=1)]
    groups = np.unique(who)
    about: dict[str, Any] = {"n_images": int(known.any(axis=1).sum()), "n_patients": len(np.unique(named))}
    if len(groups) < 2:
        reason = "nothing is known" if not len(groups) else "one group of patients"
        return Estimate(gained() if len(groups) else None, level=level, reason=reason, **about)
    value, left = gained(), np.array([gained(int(group)) for group in groups])
    n = len(groups)
    error = float(np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum()))
    if error == 0:
        return Estimate(
            value, level=level, reason="it is the same without any one group of patients", **about
        )
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * error
    method = f"jackknife of {n} groups of patients, t"
    return Estimate(value, value - reach, value + reach, level=level, method=method, **about)
