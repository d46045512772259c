from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from couplet.evaluation.jackknife import auc_estimates, average_precision_estimates, combined_df
from couplet.evaluation.leave_one_out import (
    LeaveOneOut,
    leave_one_out_auc,
    leave_one_out_mean,
)
from couplet.evaluation.leave_one_out_precision import leave_one_out_average_precision
from tests.support.delong import delong_errors
from tests.support.delong import macro_error as macro_error_of_all

FOUR = np.array([[1.0], [1.0], [0.0], [0.0]]), np.array([[0.9], [0.4], [0.5], [0.1]])


def random_data(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """60 images of 20 patients, three labels, ties, unknown cells."""
    rng = np.random.default_rng(seed)
    y_true = (rng.random((60, 3)) < [0.15, 0.5, 0.85]).astype(float)
    y_score = (rng.normal(size=(60, 3)) + y_true).round(seed % 3)
    y_true[rng.random((60, 3)) < 0.1] = np.nan
    return y_true, y_score, rng.choice([f"p{i}" for i in range(20)], 60)


def brute_force(
    statistic: Callable[..., float], y_true: np.ndarray, y_score: np.ndarray, patients: np.ndarray
) -> np.ndarray:
    """The statistic without each patient, from the rows that are left."""

    def of(kept: np.ndarray) -> float:
        kept = kept & ~np.isnan(y_true)
        if len(np.unique(y_true[kept])) < 2:
            return np.nan
        return statistic(y_true[kept], y_score[kept])

    return np.array([of(patients != patient) for patient in np.unique(patients)])


@pytest.mark.parametrize(("patients", "error"), [("abcd", 0.4330), ("abac", 0.3333)])
def test_by_hand(patients: str, error: float) -> None:
    label = next(leave_one_out_auc(*FOUR, np.array(list(patients))))
    expected = {"abcd": [0.5, 1, 1, 0.5], "abac": [1, 1, 0.5]}[patients]
    assert label.without.tolist() == expected
    assert np.sqrt(label.variance) == pytest.approx(error, abs=5e-5)
    assert delong_errors(*FOUR)[0] == pytest.approx(0.3536, abs=5e-5)


def test_interval_by_hand() -> None:
    # Logit 1.0986, standard error 0.4330 / 0.1875 = 2.3094 there, t of one degree of freedom at 80 % = 3.0777.
    found = auc_estimates(*FOUR, np.arange(4), level=0.8).per_label[0]
    assert found.low == pytest.approx(1 / (1 + np.exp(-(1.098612 - 3.077684 * 2.309401))), rel=1e-4)
    assert found.high == pytest.approx(1 / (1 + np.exp(-(1.098612 + 3.077684 * 2.309401))), rel=1e-4)
    assert (found.n_images, found.n_patients, found.n_positive_patients) == (4, 4, 2)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (leave_one_out_auc, roc_auc_score),
        (leave_one_out_average_precision, average_precision_score),
    ],
)
def test_against_removing_patients(seed: int, ours: Any, reference: Any) -> None:
    y_true, y_score, patients = random_data(seed)
    for i, label in enumerate(ours(y_true, y_score, patients)):
        known = ~np.isnan(y_true[:, i])
        assert label.value == pytest.approx(reference(y_true[known, i], y_score[known, i]), abs=1e-12)
        expected = brute_force(reference, y_true[:, i], y_score[:, i], patients)
        np.testing.assert_allclose(label.without, expected, rtol=0, atol=1e-12)
        n = len(np.unique(patients[known]))
        left = expected[label.known]
        assert label.variance == pytest.approx((n - 1) / n * ((left - left.mean()) ** 2).sum())


@pytest.mark.parametrize("seed", range(6))
def test_within_strata_against_removing_patients(seed: int) -> None:
    y_true, y_score, patients = random_data(seed)
    fold = np.random.default_rng(seed).integers(0, 3, len(y_true))  # patients may be in several

    def within(i: int, kept: np.ndarray) -> float:
        won = pairs = 0.0
        for k in range(3):
            rows = kept & (fold == k) & ~np.isnan(y_true[:, i])
            m, n = (y_true[rows, i] == 1).sum(), (y_true[rows, i] == 0).sum()
            if m and n:
                won += m * n * roc_auc_score(y_true[rows, i], y_score[rows, i])
                pairs += m * n
        return won / pairs

    for i, label in enumerate(leave_one_out_auc(y_true, y_score, patients, fold)):
        assert label.value == pytest.approx(within(i, np.ones(60, bool)), abs=1e-12)
        expected = [within(i, patients != patient) for patient in np.unique(patients)]
        np.testing.assert_allclose(label.without, expected, rtol=0, atol=1e-12)


def test_within_groups_by_hand() -> None:
    # View A: positive .9, negative .8; view B: positive .3, negative .1.
    y_true, view = np.array([[1.0], [0.0], [1.0], [0.0]]), np.array(["A", "A", "B", "B"])
    y_score = np.array([[0.9], [0.8], [0.3], [0.1]])
    assert auc_estimates(y_true, y_score, np.arange(4)).per_label[0].value == 0.75
    assert auc_estimates(y_true, y_score, np.arange(4), view).per_label[0].value == 1.0
    only_the_view = (view == "A")[:, None].astype(float)
    assert auc_estimates(y_true, only_the_view, np.arange(4), view).per_label[0].value == 0.5


@pytest.mark.parametrize("images", [1, 3])
def test_errors_are_near_delongs(images: int) -> None:
    """Of many patients with one image, or three that are alike: the two agree to a hundredth."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(400), images)
    y_true = (rng.random((400, 3)) < [0.2, 0.4, 0.6])[patients].astype(float)
    y_score = y_true + rng.normal(size=(400, 3))[patients] + 0.3 * rng.normal(size=y_true.shape)
    found = auc_estimates(y_true, y_score, patients)
    np.testing.assert_allclose(found.errors, delong_errors(y_true, y_score, patients), rtol=0.01)
    assert found.macro_error == pytest.approx(macro_error_of_all(y_true, y_score, patients), rel=0.01)


def test_macro_against_removing_patients() -> None:
    y_true, y_score, patients = random_data(4)
    labels = [brute_force(roc_auc_score, y_true[:, i], y_score[:, i], patients) for i in range(3)]
    n, macro = len(np.unique(patients)), np.mean(labels, axis=0)
    variance = (n - 1) / n * ((macro - macro.mean()) ** 2).sum()
    per_label, found, _, error = auc_estimates(y_true, y_score, patients)
    parts = list(leave_one_out_auc(y_true, y_score, patients))
    df = sum(p.variance for p in parts) ** 2 / sum(p.variance**2 / p.df for p in parts)
    value = np.mean([one.value for one in per_label])
    reach = stats.t.ppf(0.975, df) * np.sqrt(variance) / (value * (1 - value))
    assert found.value == pytest.approx(value)
    assert error == pytest.approx(np.sqrt(variance))
    assert found.low == pytest.approx(1 / (1 + np.exp(-(np.log(value / (1 - value)) - reach))))
    assert found.n_patients == n


def test_unknown_cells_take_no_part() -> None:
    y_true, y_score, patients = random_data(0)
    for ours in (auc_estimates, average_precision_estimates):
        for i in range(3):
            known = ~np.isnan(y_true[:, i])
            some = ours(y_true[known, i : i + 1], y_score[known, i : i + 1], patients[known])
            assert ours(y_true, y_score, patients).per_label[i] == some.per_label[0]


def test_order_and_names_change_nothing() -> None:
    y_true, y_score, patients = random_data(5)
    order = np.random.default_rng(0).permutation(60)
    one = auc_estimates(y_true, y_score, patients).macro
    other = auc_estimates(y_true[order], y_score[order], np.char.add("x", patients[order])).macro
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-12)


@pytest.mark.parametrize(
    ("truth", "patients", "reason"),
    [
        ([1, 1, 0, 0], [0, 0, 1, 2], "one patient has all positives"),
        ([1, 1, 0, 0], [0, 1, 2, 2], "one patient has all negatives"),
        ([1, 1, 1, 1], [0, 1, 2, 3], "no negative image"),
        ([0, 0, 0, np.nan], [0, 1, 2, 3], "no positive image"),
        ([0, 1, 0, 0], [0, 1, 2, 3], "one patient has all positives"),
    ],
)
def test_reasons(truth: list[float], patients: list[int], reason: str) -> None:
    y_true = np.array(truth)[:, None]
    per_label, macro, errors, macro_error = auc_estimates(y_true, FOUR[1], np.array(patients))
    assert (per_label[0].low, per_label[0].reason) == (None, reason)
    expected = "no label has both classes" if per_label[0].value is None else f"{reason} of 1 of 1 labels"
    assert macro.reason == expected
    assert np.isnan([*errors, macro_error]).all()


def test_nothing_at_all() -> None:
    empty = np.zeros((0, 1))
    for ours in (auc_estimates, average_precision_estimates):
        assert ours(empty, empty, np.zeros(0)).per_label[0].reason == "no positive image"


def test_a_perfect_auc_has_no_interval() -> None:
    y_true = np.array([[1.0], [1.0], [0.0], [0.0]])
    per_label = auc_estimates(y_true, y_true, np.arange(4)).per_label
    assert per_label[0].text() == "1.0000, no interval: no pair is ranked wrongly (few)"
    assert auc_estimates(y_true, -y_true, np.arange(4)).per_label[0].reason == "no pair is ranked rightly"


def test_means_against_removing_patients() -> None:
    values, _, patients = random_data(2)
    for i, label in enumerate(leave_one_out_mean(values, patients)):
        expected = [np.nanmean(values[patients != p, i]) for p in np.unique(patients)]
        np.testing.assert_allclose(label.without, expected, rtol=0, atol=1e-12)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"patients and strata must be \(4,\), not \(3,\)"):
        auc_estimates(*FOUR, np.arange(3))


def test_combined_degrees_of_freedom() -> None:
    assert combined_df([4.0, 1.0, 0.0], [2, 8, 5]) == pytest.approx(25 / (16 / 2 + 1 / 8))
    assert combined_df([0.0], [3]) == np.inf


# --- coverage -------------------------------------------------------------------------------------------------

SHIFT = 1.2
AUC = float(stats.norm.cdf(SHIFT / np.sqrt(2)))  # of normal scores that are SHIFT apart


def rare_coverage(n_positive: int, draws: int, seed: int) -> tuple[float, float]:
    """Coverage of a label with this many positives among 300 images: the jackknife's, and a normal interval's."""
    rng = np.random.default_rng(seed)
    held: tuple[list[bool], list[bool]] = ([], [])
    y_true = (np.arange(300) < n_positive).astype(float)[:, None]
    for _ in range(draws):
        y_score = rng.normal(size=(300, 1)) + SHIFT * y_true
        ours = auc_estimates(y_true, y_score, np.arange(300)).per_label[0]
        assert ours.value is not None
        reach = 1.959963985 * delong_errors(y_true, y_score)[0]
        if ours.low is not None:  # there is none for a sample without a wrong pair
            held[0].append(ours.low <= AUC <= ours.high)
        held[1].append(ours.value - reach <= AUC <= ours.value + reach)
    assert len(held[0]) >= 0.98 * draws
    return float(np.mean(held[0])), float(np.mean(held[1]))


def macro_coverage(n_patients: int, draws: int, seed: int) -> float:
    """Coverage of the macro-AUC; patients of 1 to 9 images, whose labels and scores are alike."""
    rng, held, there = np.random.default_rng(seed), 0, 0
    cut = stats.norm.ppf(1 - np.array([0.02, 0.1, 0.4]))
    for _ in range(draws):
        patients = np.repeat(np.arange(n_patients), rng.integers(1, 10, n_patients))
        latent, mood = rng.normal(size=(2, n_patients, 3))
        own, noise = rng.normal(size=(2, len(patients), 3))
        y_true = (np.sqrt(0.8) * latent[patients] + np.sqrt(0.2) * own > cut).astype(float)
        y_score = SHIFT * y_true + np.sqrt(0.5) * (mood[patients] + noise)
        found = auc_estimates(y_true, y_score, patients).macro
        if found.low is not None:
            there += 1
            held += found.low <= AUC <= found.high  # type: ignore[operator]
    assert there >= 0.9 * draws
    return held / there


def test_rare_labels_are_covered() -> None:
    for n_positive, seed in ((3, 0), (10, 1)):
        ours, normal = rare_coverage(n_positive, 400, seed)
        assert ours >= 0.90, n_positive
        assert normal < ours


def test_average_precision_of_a_rare_label_is_covered() -> None:
    # Precision at each threshold of the population, where 10 of 300 are positive, averaged over its positives.
    x = np.linspace(-8, 10, 20001)
    found, share = stats.norm.sf(x - SHIFT) / 30, 1 / 30
    precision = found / (found + (1 - share) * stats.norm.sf(x))
    truth = np.trapezoid(stats.norm.pdf(x - SHIFT) * precision, x)
    rng, y_true = np.random.default_rng(3), (np.arange(300) < 10).astype(float)[:, None]
    held = 0
    for _ in range(400):
        y_score = rng.normal(size=(300, 1)) + SHIFT * y_true
        one = average_precision_estimates(y_true, y_score, np.arange(300)).per_label[0]
        held += one.low <= truth <= one.high  # type: ignore[operator]
    assert held / 400 >= 0.90


def test_macro_is_covered() -> None:
    assert macro_coverage(640, 60, seed=0) >= 0.90


@pytest.mark.slow
@pytest.mark.parametrize(("n_positive", "before"), [(3, 0.80), (10, 0.92)])
def test_rare_labels_are_covered_where_they_were_not(n_positive: int, before: float) -> None:
    ours, normal = rare_coverage(n_positive, 5000, seed=n_positive)
    assert ours >= 0.92
    assert normal < before


@pytest.mark.slow
@pytest.mark.parametrize("n_patients", [160, 640])
def test_macro_is_covered_at_both_sizes(n_patients: int) -> None:
    assert 0.90 <= macro_coverage(n_patients, 1500, seed=n_patients) <= 0.98


def test_records_say_what_they_are_of() -> None:
    y_true, y_score, patients = random_data(1)
    label: LeaveOneOut = next(leave_one_out_auc(y_true, y_score, patients))
    known = ~np.isnan(y_true[:, 0])
    assert label.n_images == known.sum()
    assert label.n_positive == len(np.unique(patients[y_true[:, 0] == 1]))
    assert label.df == label.n_positive - 1
