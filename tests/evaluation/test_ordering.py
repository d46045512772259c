from __future__ import annotations

import numpy as np
import pytest

from couplet.evaluation.ordering import ascending, codes, n_different, order_codes, order_of

RANDOM = np.random.default_rng(0)
EXTREME = np.array([2**63 - 1, -(2**63), 0, -1, 2**63 - 1, 1, -(2**63)])
KEYS = [
    np.array([], np.int64),
    np.array([5]),
    np.array([3, 3, 3]),
    EXTREME,
    RANDOM.integers(-5, 5, 300),
    RANDOM.integers(0, 2**16, 300),  # all of it in the leading bits
    RANDOM.integers(2**40, 2**40 + 2**16, 300),
    RANDOM.integers(0, 2**16 + 2, 3000),  # one bit more
    RANDOM.integers(-(2**62), 2**62, 3000),
    np.append(RANDOM.integers(0, 100, 3000), 2**62),  # all but one in one leading number
    np.arange(3000)[::-1].copy(),
]


@pytest.mark.parametrize("keys", KEYS, ids=range(len(KEYS)))
def test_the_order_is_numpys_stable_one(keys: np.ndarray) -> None:
    before = keys.copy()
    np.testing.assert_array_equal(order_of(keys), np.argsort(keys, kind="stable"))
    np.testing.assert_array_equal(ascending(keys), np.sort(keys))
    np.testing.assert_array_equal(keys, before)


@pytest.mark.parametrize(
    "score",
    [
        RANDOM.normal(size=300).round(1),
        np.array([0.0, -0.0, 5e-324, -5e-324, 1.0, -1.0]),
        np.array([1e308, -1e308, 5e-324, -5e-324, 0.0]),  # spans more than 300 decimal powers
        RANDOM.random(300).astype(np.float32),
    ],
    ids=["both signs", "zeros", "wide", "float32"],
)
def test_codes_are_ordered_and_equal_as_the_scores(score: np.ndarray) -> None:
    code = order_codes(score)
    assert code.dtype == np.int64
    np.testing.assert_array_equal(code[:, None] < code, score[:, None] < score)
    np.testing.assert_array_equal(code[:, None] == code, score[:, None] == score)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["b", "a", "b"]),
        np.array(["b", "a"], dtype=object),
        np.array([7, 3, 7, 0]),
        np.array([7, -3, 7]),  # counted from 0 in vain
        np.array([10**12, 3]),  # a table of them would be too long
        np.array([0.5, 0.25]),
        np.array([True, False]),
        np.array([], np.int64),
    ],
)
def test_names_are_numbered_and_counted_as_by_numpy(names: np.ndarray) -> None:
    unique, expected = np.unique(names, return_inverse=True)
    np.testing.assert_array_equal(codes(names), expected)
    assert codes(names).dtype == expected.dtype
    assert n_different(names) == len(unique)
