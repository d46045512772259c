from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from couplet.evaluation.proportions import (
    coefficient,
    mean,
    observed_over_expected,
    patient_sandwich,
    proportion,
)


def test_proportion_by_hand() -> None:
    # Hits (2, 1, 0) of (2, 2, 1): residuals by patient 0.8, -0.2, -0.6, v = 1.5 * 1.04 / 25 = 0.0624, n_eff = 3.846.
    hits, patients = np.array([1, 1, 1, 0, 0, np.nan]), np.array(["a", "a", "b", "b", "c", "d"])
    found = proportion(hits, patients)
    assert (found.value, found.n_images, found.n_patients) == (pytest.approx(0.6), 5, 3)
    assert found.low == pytest.approx(0.064, abs=5e-4)
    assert found.high == pytest.approx(0.971, abs=5e-4)


def test_proportion_of_independent_images_is_wilsons() -> None:
    # Each image its own patient: v = p (1-p) / (n-1), so n_eff = n - 1, with t instead of z.
    hits = np.array([1] * 30 + [0] * 10)
    found = proportion(hits, np.arange(40))
    t, n, p = stats.t.ppf(0.975, 39), 39, 0.75
    middle, reach = p + t**2 / (2 * n), t * np.sqrt(p * (1 - p) / n + t**2 / (4 * n**2))
    assert found.low == pytest.approx((middle - reach) / (1 + t**2 / n), abs=1e-12)
    assert found.high == pytest.approx((middle + reach) / (1 + t**2 / n), abs=1e-12)


@pytest.mark.parametrize("hit", [0, 1])
def test_all_or_nothing_has_an_interval_of_as_many_images_as_patients(hit: int) -> None:
    # n_eff = G = 4 though there are 40 images: t_3^2 = 10.13, 4 / (4 + 10.13) = 0.283.
    found = proportion(np.full(40, hit), np.arange(40) % 4)
    t2 = stats.t.ppf(0.975, 3) ** 2
    ends = (4 / (4 + t2), 1.0) if hit else (0.0, t2 / (4 + t2))
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-12)


def test_one_patient_or_nothing_known_has_no_interval() -> None:
    assert proportion(np.array([1, 0]), np.array([3, 3])).text() == "0.5000, no interval: one patient"
    assert mean(np.array([np.nan]), np.array([3])).text() == "undefined, no interval: nothing is known"


def test_few_positive_patients_are_flagged() -> None:
    positive = np.array([1, 1, 0, np.nan])
    found = proportion(np.array([1, 0, 1, 1]), np.array([0, 0, 1, 2]), positive=positive)
    assert (found.n_positive_patients, found.flags) == (1, ("few",))


def test_mean_of_independent_values_is_students() -> None:
    values = np.random.default_rng(0).normal(size=50)
    found = mean(values, np.arange(50))
    expected = stats.t.interval(0.95, 49, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)


def test_mean_by_patient_by_hand() -> None:
    # Sums of residuals -2, -1 and 3 about the mean 2; v = 1.5 * 14 / 16, t_2 = 4.303.
    found = mean(np.array([1.0, 1.0, 1.0, 5.0]), np.array(["a", "a", "b", "c"]))
    assert found.value == 2.0
    assert found.high == pytest.approx(2 + stats.t.ppf(0.975, 2) * np.sqrt(1.5 * 14 / 16))


def test_copies_in_a_patient_are_no_new_evidence() -> None:
    values, patients = np.random.default_rng(1).normal(size=40), np.arange(40) % 15
    once, thrice = mean(values, patients), mean(np.tile(values, 3), np.tile(patients, 3))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert proportion(np.tile(values > 0, 3), np.tile(patients, 3)).low == pytest.approx(
        proportion(values > 0, patients).low
    )


def test_observed_over_expected_by_hand() -> None:
    # O = 2, E = 1.6; by patient y/O - q/E: 0.5 - 0.5, 0.5 - 0.25, 0 - 0.25: v = 1.5 * 0.125, on the log scale.
    y, q = np.array([1, 1, 0, np.nan]), np.array([0.8, 0.4, 0.4, 0.9])
    found = observed_over_expected(y, q, np.array(["a", "b", "c", "c"]))
    reach = stats.t.ppf(0.975, 2) * np.sqrt(1.5 * 0.125)
    assert found.value == pytest.approx(1.25)
    assert found.low == pytest.approx(1.25 * np.exp(-reach))
    assert found.high == pytest.approx(1.25 * np.exp(reach))


def test_nothing_observed_or_expected() -> None:
    zero, patients = np.zeros(3), np.arange(3)
    assert observed_over_expected(zero, zero + 0.5, patients).text() == (
        "0.0000, no interval: no positive image (few)"
    )
    assert observed_over_expected(zero, zero, patients).reason == "nothing is expected"


def test_sandwich_of_independent_images_and_of_copies() -> None:
    # Least squares y = b x: the score is x (y - b x), the Hessian sum x^2; HC-robust error with n / (n-1).
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=60), rng.normal(size=60)
    b = (x @ y) / (x @ x)
    scores = (x * (y - b * x))[:, None]
    covariance = patient_sandwich(np.array([[x @ x]]), scores, np.arange(60))
    assert covariance[0, 0] == pytest.approx(60 / 59 * (scores**2).sum() / (x @ x) ** 2)
    twice = patient_sandwich(np.array([[2 * x @ x]]), np.tile(scores, (2, 1)), np.tile(np.arange(60), 2))
    assert twice == pytest.approx(covariance)
    found = coefficient(b, covariance[0, 0], 60)
    assert found.high == pytest.approx(b + stats.t.ppf(0.975, 59) * np.sqrt(covariance[0, 0]))
    assert np.isnan(patient_sandwich(np.eye(1), scores, np.zeros(60))).all()
    assert coefficient(b, np.nan, 1).reason == "one patient"


def coverage(n_patients: int, share: float, draws: int, seed: int) -> float:
    """How often the interval holds the share; patients of 1 to 9 images differ in how easy they are."""
    rng, held = np.random.default_rng(seed), 0
    for _ in range(draws):
        patients = np.repeat(np.arange(n_patients), rng.integers(1, 10, n_patients))
        ease = rng.beta(4 * share, 4 * (1 - share), n_patients)
        found = proportion((rng.random(len(patients)) < ease[patients]).astype(float), patients)
        held += found.low <= share <= found.high  # type: ignore[operator]
    return held / draws


def test_proportions_are_covered() -> None:
    assert coverage(10, 0.9, 400, seed=0) >= 0.92
    assert coverage(100, 0.8, 400, seed=1) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("n_patients", [10, 30, 150])
@pytest.mark.parametrize("share", [0.7, 0.9, 0.97])
def test_proportions_are_covered_at_all_sizes(n_patients: int, share: float) -> None:
    assert 0.93 <= coverage(n_patients, share, 3000, seed=n_patients) <= 0.995


def test_shares_of_many_cells_are_worth_more_than_their_images() -> None:
    """The share of all cells, taken image by image or cell by cell, is one number with one interval."""
    rng = np.random.default_rng(4)
    hits = (rng.random((60, 14)) < 0.9).astype(float)
    patients = np.arange(60) // 2
    by_cell = proportion(hits.ravel(), np.repeat(patients, 14))
    by_image = proportion(hits.mean(axis=1), patients, cells=14)
    assert by_image.value == pytest.approx(by_cell.value)
    assert (by_image.low, by_image.high) == pytest.approx((by_cell.low, by_cell.high))
    assert (by_image.n_images, by_image.n_patients) == (60, 30)
    cut = proportion(hits.mean(axis=1), patients)
    assert cut.low is not None and by_image.low is not None and cut.low < by_image.low - 0.02
