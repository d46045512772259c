from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from couplet.images.loading.draws import dropout_seed, epoch_order, image_keys, uniforms, weights_seed

IDS = [f"{i:08d}_001_001.jpg" for i in range(4000)]


def splitmix64(state: int) -> int:
    """The published algorithm in plain Python, one step."""
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_values_do_not_change_between_versions_and_machines() -> None:
    assert image_keys(["a", "ä"]).tolist() == [3405396810240292928, 4152366542966443504]
    draws = uniforms(image_keys(["a"]), seed=42, fold=0, epoch=0, n_draws=3)
    np.testing.assert_array_equal(draws, [[0.9690738671146261, 0.9145708729720636, 0.4178337802792449]])
    assert epoch_order(8, seed=42, fold=0, epoch=0).tolist() == [5, 6, 1, 0, 7, 4, 3, 2]


def test_the_hash_is_splitmix64() -> None:
    # First outputs for state 0, as published with the algorithm.
    assert [hex(splitmix64(i * 0x9E3779B97F4A7C15 % 2**64)) for i in range(2)] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
    ]
    from couplet.images.loading.draws import _digest, _mix

    key = int(image_keys(["x"])[0])
    start = int(_mix(np.array([key ^ _digest("views 7 1 2")], dtype=np.uint64))[0])
    expected = []
    for j in range(5):
        expected.append((splitmix64((start + j * 0x9E3779B97F4A7C15) % 2**64) >> 11) * 2.0**-53)
    np.testing.assert_array_equal(uniforms(image_keys(["x"]), 7, 1, 2, 5)[0], expected)


def test_a_draw_depends_on_the_image_alone_not_on_its_batch_or_the_number_of_draws() -> None:
    keys = image_keys(IDS[:50])
    all_at_once = uniforms(keys, 42, 1, 2, 27)
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(uniforms(keys[order], 42, 1, 2, 27), all_at_once[order])
    one_by_one = [uniforms(keys[i : i + 1], 42, 1, 2, 27)[0] for i in range(50)]
    np.testing.assert_array_equal(one_by_one, all_at_once)
    np.testing.assert_array_equal(uniforms(keys, 42, 1, 2, 5), all_at_once[:, :5])


def test_draws_are_uniform_in_zero_to_one() -> None:
    draws = uniforms(image_keys(IDS), 42, 0, 0, 27)
    assert draws.shape == (4000, 27) and draws.dtype == np.float64
    assert draws.min() >= 0 and draws.max() < 1
    assert abs(draws.mean() - 0.5) < 4 * np.sqrt(1 / 12 / draws.size)
    for column in draws.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    # Pairs of columns, and neighbouring ids, are independent.
    between = np.corrcoef(draws.T) - np.eye(27)
    assert np.abs(between).max() < 5 / np.sqrt(4000)
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 5 / np.sqrt(4000)


@pytest.mark.parametrize("other", [(43, 0, 0), (42, 1, 0), (42, 0, 1), (4, 20, 0), (42, 10, 0)])
def test_other_seeds_folds_and_epochs_are_uncorrelated(other: tuple[int, int, int]) -> None:
    keys = image_keys(IDS)
    here, there = uniforms(keys, 42, 0, 0, 3), uniforms(keys, *other, 3)
    assert (here != there).all()
    for a in here.T:
        for b in there.T:
            assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(4000)


def test_repeat_0_is_what_was_drawn_before_there_were_repeats() -> None:
    """Values of the version without train.repeat: the committed models keep their bytes."""
    assert weights_seed((42, 0)) == weights_seed((42, 0), 0) == 134183728835869882
    assert dropout_seed(42, 0, 0, 0) == dropout_seed(42, 0, 0, 0, 0) == 11465652750463011511
    assert dropout_seed(42, 1, 2, 3, repeat=0) == 7947200846218324290
    draws = uniforms(image_keys(["a"]), 42, 0, 0, 3, repeat=0)
    np.testing.assert_array_equal(draws, [[0.9690738671146261, 0.9145708729720636, 0.4178337802792449]])
    assert epoch_order(8, 42, 0, 0, repeat=0).tolist() == [5, 6, 1, 0, 7, 4, 3, 2]


@pytest.mark.parametrize("repeat", [1, 2, 10])
def test_another_repeat_draws_views_and_orders_of_its_own(repeat: int) -> None:
    keys = image_keys(IDS)
    here, there = uniforms(keys, 42, 0, 0, 3), uniforms(keys, 42, 0, 0, 3, repeat)
    assert (here != there).all()
    for a in here.T:
        for b in there.T:
            assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(4000)
    orders = [epoch_order(4000, 42, 0, 0, r) for r in (0, repeat)]
    assert abs(np.corrcoef(orders)[0, 1]) < 5 / np.sqrt(4000)
    assert sorted(orders[1].tolist()) == list(range(4000))


def test_no_two_streams_of_any_repeat_are_one() -> None:
    """Two numbers after one another are read alike wherever they come from: "1 1" is not seed 1, repeat 11."""
    few = range(3)
    weights = [weights_seed((s, f), r) for s in few for f in few for r in (0, 1, 2, 11)]
    dropout = [
        dropout_seed(s, f, e, b, r) for s in few for f in few for e in few for b in few for r in (0, 1, 2, 11)
    ]
    assert len({*weights, *dropout}) == len(weights) + len(dropout)
    keys = image_keys(["a"])
    numbers = (0, 1, 2, 11, 12, 111)
    views = [
        float(uniforms(keys, s, f, e, 1, r)[0, 0])
        for s in numbers
        for f in numbers
        for e in numbers
        for r in numbers
    ]
    assert len(set(views)) == len(views)


def test_epoch_orders_are_permutations_that_differ() -> None:
    orders = [
        epoch_order(1000, seed, fold, epoch) for seed in (1, 2) for fold in (0, 1) for epoch in (0, 1, 2)
    ]
    for order in orders:
        assert sorted(order.tolist()) == list(range(1000)) and order.dtype == np.int64
    for i, a in enumerate(orders):
        assert abs(stats.spearmanr(a, np.arange(1000)).statistic) < 0.15
        for b in orders[:i]:
            assert (a == b).sum() < 10 and abs(stats.spearmanr(a, b).statistic) < 0.15
    assert epoch_order(0, 1, 0, 0).tolist() == [] and epoch_order(1, 1, 0, 0).tolist() == [0]


def test_every_place_is_equally_likely() -> None:
    first = [int(epoch_order(6, seed, 0, 0)[0]) for seed in range(3000)]
    assert stats.chisquare(np.bincount(first, minlength=6)).pvalue > 1e-4
