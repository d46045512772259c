"""Age, sex and view of the manifest as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from couplet.results.manifest import Manifest
from couplet.results.metadata import ages_in_hundred_years, ages_in_years, by_position, known_means, metadata
from tests.support.errors import refused


def manifest(**columns: list[str]) -> Manifest:
    n = len(next(iter(columns.values())))
    table = pd.DataFrame({"image_id": [f"{i}" for i in range(n)], **columns})
    return Manifest(table, ["Edema"], np.zeros((n, 1), np.float32), np.arange(n))


def test_columns_come_in_the_order_of_their_names() -> None:
    found = metadata(
        manifest(age=["058Y", "7", "", "200"], sex=["M", "F", "", "O"], view=["AP", "PA", "LATERAL", " ap "]),
        ["view", "age", "sex"],
    )
    assert found.dtype == np.float32
    expected = [[1, 0.58, 1], [0, 0.07, 0], [np.nan, np.nan, np.nan], [1, 1, np.nan]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert metadata(manifest(age=["1"]), []).shape == (1, 0)


def test_spellings_are_those_of_every_other_place() -> None:
    found = metadata(
        manifest(sex=["Male", "female", "Unknown", "m"], view=["AP_horizontal", "pa", "UNK", "Lateral"]),
        ["sex", "view"],
    )
    np.testing.assert_array_equal(found, [[1, 1], [0, 0], [np.nan, np.nan], [1, np.nan]])


@pytest.mark.parametrize(
    ("cell", "age"),
    [
        ("58", 0.58),
        ("058Y", 0.58),
        ("58.5", 0.585),
        ("011M", 0),
        ("003W", 0),
        ("020D", 0),
        ("413", 1),
        (" 9 ", 0.09),
        ("130M", 0.10),
        ("999W", 0.19),
        ("85 or more", 0.85),
        ("90+", 0.90),
        (">89", 0.89),
        (">= 90", 0.90),
    ],
)
def test_an_age_is_the_years_that_data_sets_and_dicom_write(cell: str, age: float) -> None:
    assert ages_in_hundred_years([cell])[0] == pytest.approx(age)


@pytest.mark.parametrize("cell", ["", "Y", "-1", "58X", "unknown", "5 8", ">", "<1"])
def test_anything_else_is_unknown(cell: str) -> None:
    assert np.isnan(ages_in_hundred_years([cell])[0])


def test_ages_stay_with_their_images_however_often_a_cell_is_there() -> None:
    cells = np.array(["58", "", "130M", "58", "x", "", "007M"], dtype=object)
    np.testing.assert_array_equal(ages_in_years(cells), [58, np.nan, 10, 58, np.nan, np.nan, 0])
    assert ages_in_years(np.array([], dtype=object)).shape == (0,)


def test_the_mean_is_that_of_the_known_ones_and_none_known_is_refused() -> None:
    values = np.array([[0.2, 1, np.nan], [np.nan, 0, np.nan], [0.6, 0, np.nan]], dtype=np.float32)
    np.testing.assert_allclose(known_means(values[:, :2], ["age", "sex"], 0), [0.4, 1 / 3], rtol=1e-6)
    assert refused(known_means, values, ["age", "sex", "view"], 2) == (
        "model.metadata names 'view', which no training image of fold 2 has in a form that is understood (age in years, "
        "sex M or F, view AP or PA): take it out"
    )


def test_positions_in_the_store_have_gaps(tmp_path: Path) -> None:
    found = by_position(np.array([[1.0], [2.0]], dtype=np.float32), np.array([5, 2]))
    np.testing.assert_array_equal(found[:, 0], [np.nan, np.nan, 2, np.nan, np.nan, 1])
