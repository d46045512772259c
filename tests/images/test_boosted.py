"""Images drawn by weight: how often each comes, and that its second turn is not its first again."""

from __future__ import annotations

import numpy as np
import pytest

from couplet.images.loading.draws import boosted, image_keys, turn_keys, uniforms


def counts(weights: np.ndarray, u: float) -> np.ndarray:
    return np.bincount(boosted(weights, u), minlength=len(weights))


def test_hand_value() -> None:
    """Shares of 8.5 end at 0.118, 0.235, 0.471, 0.941 and 1; the turns are at 0.06, 0.26, 0.46, 0.66 and 0.86."""
    assert counts(np.array([1, 1, 2, 4, 0.5]), 0.3).tolist() == [1, 0, 2, 2, 0]


@pytest.mark.parametrize("u", [0.0, 0.3, 1 - 2**-53])
@pytest.mark.parametrize("n", [1, 2, 7, 4096, 86_524])
def test_equal_weights_give_every_image_once(n: int, u: float) -> None:
    for weight in (0.1, 1.0, 1e-30, 3e300):
        assert np.array_equal(boosted(np.full(n, weight), u), np.arange(n))


def test_every_image_comes_floor_or_ceil_of_its_share_and_on_average_its_share() -> None:
    rng = np.random.default_rng(0)
    weights = rng.gamma(0.5, size=50)
    weights[[3, 10]] = 0
    expected = 50 * weights / weights.sum()
    seen = np.array([counts(weights, u) for u in (np.arange(2000) + 0.5) / 2000])
    assert (seen.sum(axis=1) == 50).all() and (seen[:, [3, 10]] == 0).all()
    assert (seen >= np.floor(expected - 1e-6)).all() and (seen <= np.ceil(expected + 1e-6)).all()
    np.testing.assert_allclose(seen.mean(axis=0), expected, atol=0.002)


def test_whole_shares_come_exactly_that_often() -> None:
    weights = np.array([0.3, 0.6, 0.0, 0.3])
    for u in (0.0, 0.5, 0.999999):
        assert counts(weights, u).tolist() == [1, 2, 0, 1]


def test_weights_that_are_all_zero_count_as_equal() -> None:
    assert boosted(np.zeros(4), 0.9).tolist() == [0, 1, 2, 3]


def test_a_second_turn_has_another_view_and_a_first_turn_the_usual_one() -> None:
    keys = image_keys(["a", "b", "c"])
    assert np.array_equal(turn_keys(keys, np.arange(3)), keys)
    turns = turn_keys(keys, np.array([0, 2, 2, 2]))
    assert np.array_equal(turns[:2], keys[[0, 2]]) and len(set(turns.tolist())) == 4
    draws = uniforms(turns, 42, 0, 5, 4)
    assert abs(draws[1] - draws[2]).min() > 1e-3 and abs(draws[2] - draws[3]).min() > 1e-3
