"""Which column of a data set is which label, where labels of several sets meet: one table, LABEL_MAPS.

A label map names, for each of our labels, their column; or several columns (1 if any is 1, 0 if all are 0, else
unknown); or None: the data set does not know it. What a set does not know is unknown, never 0. Equal names are not
equal definitions: a set's labels keep its own labeller, and its own meaning of a blank cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pandas import DataFrame, Series

from couplet.datasets import chexpert, grand_xray_slam, mimic_cxr_jpg
from couplet.datasets.names import check_names
from couplet.project.errors import UserError
from couplet.settings.schema.messages import not_allowed, suggest

Columns = str | Sequence[str] | None

# Our label -> their column. Names are CheXpert's where it has the finding (Irvin et al., AAAI 2019), else the set's.
LABEL_MAPS: dict[str, dict[str, Columns]] = {
    "chexpert": {name: name for name in chexpert.LABELS},
    "mimic_cxr_jpg": {name: name for name in mimic_cxr_jpg.LABELS},
    "grand_xray_slam": {name: name for name in grand_xray_slam.LABELS},
    "phantom": {name: name for name in grand_xray_slam.LABELS},
    "nih": {
        "Atelectasis": "Atelectasis",
        "Cardiomegaly": "Cardiomegaly",
        "Consolidation": "Consolidation",
        "Edema": "Edema",
        "Enlarged Cardiomediastinum": None,
        "Fracture": None,
        "Lung Lesion": ("Mass", "Nodule"),
        "Lung Opacity": None,
        "No Finding": None,  # of fourteen other findings than CheXpert's
        "Pleural Effusion": "Effusion",
        "Pleural Other": None,
        "Pneumonia": "Pneumonia",
        "Pneumothorax": "Pneumothorax",
        "Support Devices": None,
        "Infiltration": "Infiltration",
        "Mass": "Mass",
        "Nodule": "Nodule",
        "Emphysema": "Emphysema",
        "Fibrosis": "Fibrosis",
        "Pleural_Thickening": "Pleural_Thickening",
        "Hernia": "Hernia",
    },
}
# (source, our label) whose columns mean nearly, but not quite, what the label means elsewhere.
APPROXIMATE = frozenset({("nih", "Lung Lesion")})


@dataclass(frozen=True)
class LabelMap:
    """The labels that a data set knows, by our names.

    Attributes:
        columns: our label -> the columns that say it, one or more; labels that the set does not know are left out.
        approximate: those of `columns` that are only nearly that label.
        brought: those that the set brings along. The others, approximate ones of a default map, are only told of
            where another set has that label.
    """

    columns: dict[str, tuple[str, ...]]
    approximate: tuple[str, ...]
    brought: tuple[str, ...]

    def values(self, table: DataFrame, labels: Sequence[str]) -> DataFrame:
        """Columns of 1, 0 or NaN for `labels`, of a table whose label columns hold 1, 0 or NaN.

        >>> table = DataFrame({"Mass": [1.0, 0.0, 0.0], "Nodule": [np.nan, 0.0, np.nan]})
        >>> LabelMap({"Lesion": ("Mass", "Nodule")}, (), ()).values(table, ["Lesion", "Edema"]).T.to_numpy().tolist()
        [[1.0, 0.0, nan], [nan, nan, nan]]
        """
        known = {label: _any(table, self.columns[label]) for label in labels if label in self.columns}
        nothing = np.full(len(table), np.nan)
        return DataFrame({label: known.get(label, nothing) for label in labels}, index=table.index)


def _any(table: DataFrame, columns: Sequence[str]) -> np.ndarray:
    cells = table[list(columns)].to_numpy(np.float64)
    return np.where((cells == 1).any(axis=1), 1.0, np.where((cells == 0).all(axis=1), 0.0, np.nan))


def label_map(source: str, theirs: Sequence[str], given: Mapping[str, Any] | None, key: str) -> LabelMap:
    """The label map of a data set.

    Args:
        source: which adapter read it, for the default.
        theirs: its labels.
        given: a map in settings, which is then the whole map; None: that of LABEL_MAPS, or each label as it is.
        key: where `given` stands, for messages.

    Raises:
        UserError: a value is no column, names a column twice or one that is not there, or no label has any.
    """
    wanted = LABEL_MAPS.get(source, {name: name for name in theirs}) if given is None else given
    check_names(Series(list(wanted), index=list(wanted), dtype=str), lambda label: f"{key}: label {label!r}")
    columns = {}
    for label, value in wanted.items():
        if value is not None:
            columns[label] = _columns(value, theirs, f"{key}.{label}")
    if not columns:
        raise UserError(f"{key} has no label with a column: name one, or leave it out for the default map")
    default = LABEL_MAPS.get(source, {})
    approximate = [
        label
        for label, names in columns.items()
        if (source, label) in APPROXIMATE and set(names) == set(_listed(default[label]))
    ]
    brought = [label for label in columns if given is not None or label not in approximate]
    return LabelMap(columns, tuple(approximate), tuple(brought))


def map_to_ours(
    source: str,
    theirs: Sequence[str],
    ours: Sequence[str],
    our_source: str,
    given: Mapping[str, Any] | None,
    key: str,
) -> LabelMap:
    """The label map of another data set for a run whose labels are fixed: of `ours` those that it knows.

    Without a map in settings, labels meet by their names in LABEL_MAPS: NIH's `Effusion` and CheXpert's
    `Pleural Effusion` are one, whichever of the two the run is of. Two sets of one adapter share what has equal names.

    Args:
        source, theirs: its adapter and its labels.
        ours, our_source: the run's labels, and the adapter that they are of.
        given: the map in settings; None: by the default.
        key: where `given` stands, for messages.

    Raises:
        UserError: as `label_map`; or the map in settings names a label that the run has not; or no label is shared.
    """
    if given is not None:
        for label in given:
            if label not in ours:
                raise UserError(f"{key} has {label!r}, which is no label of this run: {suggest(label, ours)}")
        return label_map(source, theirs, given, key)
    if source == our_source:
        found = LabelMap({name: (name,) for name in theirs}, (), ())
    else:
        found = label_map(source, theirs, None, key)
    columns = {}
    for label in ours:
        names = [label] if source == our_source else _names_elsewhere(our_source, label)
        if known := [name for name in names if name in found.columns]:
            columns[label] = (known[0], found.columns[known[0]])
    if not columns:
        raise UserError(
            f"{key}: no label of {source} is one of this run by the default map (theirs: {', '.join(theirs)}): write "
            "for each shared label `ours: theirs`"
        )
    approximate = tuple(label for label, (name, _) in columns.items() if name in found.approximate)
    return LabelMap({label: of for label, (_, of) in columns.items()}, approximate, tuple(columns))


def _names_elsewhere(source: str, label: str) -> list[str]:
    """Under which names in LABEL_MAPS other sets have a set's own label: its own first."""
    table = LABEL_MAPS.get(source, {})
    own = [] if label in table and table[label] is None else [label]  # the same name for something else
    return own + [name for name, columns in table.items() if columns == label and name != label]


def _columns(value: Any, theirs: Sequence[str], key: str) -> tuple[str, ...]:
    names = _listed(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{key} {not_allowed(value, 'a column, a list of columns or null')}")
    for name in names:
        if name not in theirs:
            raise UserError(f"{key} names {name!r}, which is no label of that set: {suggest(name, theirs)}")
        if names.count(name) > 1:
            raise UserError(f"{key} names {name!r} twice: remove one of them")
    return names


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)
