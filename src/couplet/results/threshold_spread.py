"""How far the headline rule's thresholds are known: their range in plots/thresholds.csv."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from couplet.project.errors import UserError
from couplet.project.project import Project
from couplet.results.tables import read_table

COLUMNS = ("label", "rule", "threshold", "low", "high")


class ThresholdSpread(NamedTuple):
    """5 and 95 % of the threshold over resamples of the patients, on the scale of calibrated probabilities."""

    low: float
    high: float


def read_threshold_spread(project: Project, rule: str, n_labels: int) -> list[ThresholdSpread | None]:
    """Of each of L labels the range of one rule's threshold; None where the table has none.

    Raises:
        UserError: the table is missing, or is of another number of labels.
    """
    path = project.thresholds_plot
    table = read_table(path, ("label", "rule"), required=COLUMNS)
    own = table[table["rule"] == rule]
    if len(own) != n_labels:
        raise UserError(
            f"{path} has {len(own)} rows of the rule {rule!r} and not {n_labels}: run `dvc repro`"
        )
    ends = own[["low", "high"]].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    return [None if np.isnan(pair).any() else ThresholdSpread(*pair.tolist()) for pair in ends]
