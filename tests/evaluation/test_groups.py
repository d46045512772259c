from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from couplet.evaluation.groups import AGE_BANDS, age_bands, contrast, groups_of, named
from couplet.evaluation.hits import share


def test_age_bands() -> None:
    ages = np.array([0, 39, 40, 59, 60, 79, 80, 120, np.nan])
    assert age_bands(ages).tolist() == [
        *("< 40", "< 40", "40-59", "40-59", "60-79", "60-79", ">= 80", ">= 80", "unknown"),
    ]


def test_groups_are_in_order_and_unknown_is_last() -> None:
    sex = named(np.array(["Male", "", "Female", "Male"], dtype=object))
    age = age_bands(np.array([90.0, 10.0, 50.0, np.nan]))
    found = groups_of({"sex": sex, "age": age}, np.ones((4, 1)), np.arange(4))
    assert [(group.attribute, group.value) for group in found] == [
        *(("sex", "Female"), ("sex", "Male"), ("sex", "unknown")),
        *(("age", "< 40"), ("age", "40-59"), ("age", ">= 80"), ("age", "unknown")),
    ]
    assert [group.rows.sum() for group in found] == [1, 2, 1, 1, 1, 1, 1]
    assert len(AGE_BANDS) == 5


def test_sizes_are_counted_in_patients() -> None:
    # 49 and 50 patients; labels with 9 and 10 patients of the rarer class, each with two images.
    patients = np.repeat(np.arange(99), 2)
    view = np.array(["AP"] * 98 + ["PA"] * 100, dtype=object)
    truth = np.zeros((198, 3))
    truth[98:116, 0] = 1  # 9 patients
    truth[98:118, 1] = 1  # 10
    truth[98:, 2] = 1
    truth[116:118, 2] = np.nan
    small, large = groups_of({"view": view}, truth, patients)
    assert (small.n_images, small.n_patients, small.shown) == (98, 49, False)
    assert (large.n_images, large.n_patients, large.shown) == (100, 50, True)
    assert large.positive_patients.tolist() == [9, 10, 49] and large.negative_patients.tolist() == [41, 40, 0]
    assert large.scored.tolist() == [False, True, False]
    assert small.scored.tolist() == [False] * 3


def brute_contrast(hits: np.ndarray, inside: np.ndarray, patients: np.ndarray) -> tuple[float, float]:
    """Difference of shares and its jackknife error, leaving patients out one by one."""
    left_out = []
    for patient in np.unique(patients):
        rows = patients != patient
        left_out.append(hits[rows & inside].mean() - hits[rows & ~inside].mean())
    n = len(left_out)
    return hits[inside].mean() - hits[~inside].mean(), np.sqrt((n - 1) * np.var(left_out))


def test_contrast_of_a_share_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    patients, inside = rng.integers(0, 30, 200), rng.random(200) < 0.4  # patients have images in both parts
    hits = (rng.random(200) < 0.3 + 0.2 * inside).astype(float)

    def parts(rows: np.ndarray) -> list[np.ndarray]:
        return [share(np.where(part & rows, hits, np.nan)[:, None]) for part in (inside, ~inside)]

    without = np.array([parts(patients != g) for g in range(30)])
    value, rest = parts(np.full(200, True))
    found = contrast(value, without[:, 0], rest, without[:, 1], np.ones((30, 1), bool), np.array([28]))
    difference, error = brute_contrast(hits, inside, patients)
    assert (found.difference[0], found.standard_error[0]) == pytest.approx((difference, error))
    assert found.p_value[0] == pytest.approx(2 * student.sf(abs(difference / error), 27))
    # A patient without a cell on either side is no patient of this contrast.
    more = np.concatenate([without, [[value, rest]]])
    known = np.append(np.ones((30, 1), bool), [[False]], axis=0)
    again = contrast(value, more[:, 0], rest, more[:, 1], known, np.array([28]))
    assert again.standard_error[0] == pytest.approx(error)


def test_contrast_of_equal_and_of_undefined_parts() -> None:
    ones, all_of_them = np.ones((4, 1)), np.ones((4, 1), bool)
    equal = contrast(ones[0], ones, ones[0], ones, all_of_them, np.array([2]))
    assert (equal.difference[0], equal.standard_error[0], equal.p_value[0]) == (0, 0, 1)
    unmoved = contrast(ones[0] * 0.5, ones * 0.5, ones[0], ones, all_of_them, np.array([2]))
    assert unmoved.difference[0] == -0.5 and np.isnan(unmoved.p_value[0])
    missing = contrast(ones[0] * np.nan, ones * np.nan, ones[0], ones, all_of_them, np.array([0]))
    assert (
        np.isnan(missing.difference[0])
        and np.isnan(missing.standard_error[0])
        and np.isnan(missing.p_value[0])
    )
