"""Couplings for honest numbers: each part of the images is refined by couplings of the other parts' rows.

What is fitted on refined probabilities afterwards, the calibrator of part k, must not see labels of part k either. But
the refined rows of the other parts come from couplings that have. So for each part k the other parts' rows are refined
again, by couplings cross-fitted among themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from couplet.evaluation.calibration.inverse import LossPosterior
from couplet.evaluation.couplings.fit import LabelCouplings, fit_label_couplings


def fits_of_parts(
    truth: np.ndarray, p: np.ndarray, parts: np.ndarray, posterior: LossPosterior, strictness: float
) -> dict[int, LabelCouplings]:
    """For the images of each part couplings of the other parts' rows; of all rows where there is one part only.

    Args: as of `cross_fit`.
    """
    of_part = {}
    for part in np.unique(parts).tolist():
        rows = parts != part if (parts != part).any() else np.ones(len(parts), dtype=bool)
        of_part[part] = fit_label_couplings(truth[rows], p[rows], posterior, strictness)
    return of_part


@dataclass(frozen=True)
class CrossFitted:
    """n images out of fold, L labels.

    Attributes:
        couplings: fitted on all rows: for images that none of them is.
        of_part: for the images of each part, fitted on the other parts' rows.
        refined: (n, L) each row by the couplings of the other parts.
        alone: (n, L) the same without couplings: own intercept and scale of each label only.
        without: of each part (n, L), in which no number depends on a label of that part: its own rows as in `refined`,
            the others refined by couplings cross-fitted among themselves.
    """

    couplings: LabelCouplings
    of_part: dict[int, LabelCouplings]
    refined: np.ndarray
    alone: np.ndarray
    without: dict[int, np.ndarray]


def cross_fit(
    truth: np.ndarray,
    p: np.ndarray,
    parts: np.ndarray,
    inner: np.ndarray,
    posterior: LossPosterior,
    strictness: float,
) -> CrossFitted:
    """Fit the couplings of all rows, of each part's others, and those that the calibrators' rows are refined by.

    Args:
        truth: (n, L) of 0, 1 or NaN.
        p: (n, L) outputs, each by the model that has not seen the image.
        parts: (n,) that are held out in turn (`calibration.fitting.cross_fitting_parts`).
        inner: (n,) parts of patients, over which the rows beside a held-out part are cross-fitted.
        posterior, strictness: as of `fit_label_couplings`.

    Returns:
        With one part only, its rows are refined by couplings fitted on them: nothing honest can be said then.
    """

    def fitted(rows: np.ndarray) -> LabelCouplings:
        return fit_label_couplings(truth[rows], p[rows], posterior, strictness)

    everything = np.ones(len(p), dtype=bool)
    couplings = fitted(everything)
    of_part = fits_of_parts(truth, p, parts, posterior, strictness)
    refined, alone, without = np.full(p.shape, np.nan), np.full(p.shape, np.nan), {}
    for part in of_part:
        others = parts != part
        refined[~others] = of_part[part].refined(p[~others])
        alone[~others] = of_part[part].alone(p[~others])
        table = np.full(p.shape, np.nan)
        table[~others] = refined[~others]
        for block in np.unique(inner[others]).tolist():
            held = others & (inner == block)
            rest = others & (inner != block)
            table[held] = (fitted(rest) if rest.any() else of_part[part]).refined(p[held])
        without[part] = table
    return CrossFitted(couplings, of_part, refined, alone, without)
