from __future__ import annotations

import numpy as np
from pandas import Series
from pydantic import BaseModel

from couplet.datasets.terms import check_terms, label_columns, read_terms
from couplet.settings.source_args import LabelTerms
from tests.support.errors import refused

ROWS = Series(
    [frozenset(), frozenset(["opacity/lung/base", "mass"]), frozenset(["opacity"]), frozenset(["opacityx"])],
    index=[2, 3, 5, 9],
    dtype=object,
)


def test_equal_cells_are_read_once_and_their_first_row_is_named():
    seen = []

    def parse(cell, row):
        seen.append((cell, row))
        return cell.split(";")

    terms = read_terms(Series(["A; b  B ;", "c", "A; b  B ;", ""], index=[2, 4, 6, 7]), parse)
    assert terms.to_dict() == {
        2: frozenset(["a", "b b"]),
        4: frozenset(["c"]),
        6: frozenset(["a", "b b"]),
        7: frozenset(),
    }
    assert seen == [("A; b  B ;", 2), ("c", 4), ("", 7)]


def test_a_label_is_any_of_its_terms_or_what_lies_below_one():
    labels = label_columns(ROWS, {"O": ["Opacity"], "Base": ["opacity/lung"], "Any": ["Mass", "OPACITYX"]})
    assert labels.columns.tolist() == ["O", "Base", "Any"] and labels.index.tolist() == [2, 3, 5, 9]
    np.testing.assert_array_equal(labels, [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1]])
    assert label_columns(ROWS.iloc[:0], {"O": ["Opacity"]}).shape == (0, 1)


def test_terms_that_a_user_chose_must_be_there():
    check_terms({"O": ["Opacity/Lung", "MASS"]}, ROWS, "t.csv")
    assert refused(check_terms, {"O": ["opacity/lungs"]}, ROWS, "t.csv") == (
        "data.source_args.labels: no image of t.csv has 'opacity/lungs': correct it (nearest: opacity/lung, "
        "opacity/lung/base, opacity, opacityx, mass) or take it out"
    )
    assert refused(check_terms, {"=O": ["mass"]}, ROWS, "t.csv").startswith(
        "data.source_args.labels: '=O' would be a formula in a spreadsheet"
    )


def test_a_list_is_a_label_for_each_of_its_names():
    class Settings(BaseModel):
        labels: LabelTerms

    assert Settings(labels=["a", "b"]).labels == {"a": ["a"], "b": ["b"]}
    assert refused(Settings, labels={"a": ["b"], "O": []}) == (
        "data.source_args.labels: 'O' has no terms: name one or more, or take it out"
    )
    assert Settings(labels={"x": ["a", "b"]}).labels == {"x": ["a", "b"]}
