from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from couplet.evaluation.comparison import (
    Comparison,
    Difference,
    Run,
    compare,
    mean_of_repeats,
    verdict,
)
from couplet.evaluation.estimate import Estimate
from couplet.evaluation.jackknife import auc_estimates
from couplet.evaluation.leave_one_out import leave_one_out_auc, leave_one_out_mean
from couplet.evaluation.multiple_tests import benjamini_hochberg, holm
from couplet.evaluation.repeats import spread
from tests.support.delong import delong_errors

V = np.array([[4e-4, 1e-4], [1e-4, 4e-4]])


def data(seed: int, n: int = 120, repeats: int = 1) -> tuple[np.ndarray, list[list[np.ndarray]], np.ndarray]:
    """Truth of three labels with unknown cells, both arms' scores at each repeat, patients of about three images."""
    rng = np.random.default_rng(seed)
    y_true = (rng.random((n, 3)) < [0.3, 0.5, 0.7]).astype(float)
    shared = rng.normal(size=(n, 3))
    arms = [
        [(y_true + shared + 0.5 * rng.normal(size=(n, 3))).round(1) for _ in range(repeats)] for _ in range(2)
    ]
    y_true[rng.random((n, 3)) < 0.1] = np.nan
    return y_true, arms, rng.integers(0, n // 3, n)


def runs(y_true: np.ndarray, scores: list[np.ndarray], patients: np.ndarray) -> list[Run]:
    return [list(leave_one_out_auc(y_true, score, patients)) for score in scores]


def compared(seed: int, repeats: int, paired: bool = True) -> Comparison:
    y_true, arms, patients = data(seed, repeats=repeats)
    return compare(*(runs(y_true, scores, patients) for scores in arms), paired)


# --- the variance of a mean over repeats ----------------------------------------------------------------------


def test_repeats_that_agree_are_not_surer_than_their_patients() -> None:
    found = spread(np.array([0.01, 0.03]), V)
    assert found.common == pytest.approx(1e-4)
    assert found.own == pytest.approx(3e-4)
    assert found.between_repeats == pytest.approx(2e-4)
    assert (found.error, found.df) == (pytest.approx(0.015811, abs=1e-6), np.inf)
    z = 0.02 / found.error
    assert z == pytest.approx(1.265, abs=5e-4)
    assert 2 * stats.norm.sf(z) == pytest.approx(0.2059, abs=5e-5)


def test_repeats_that_differ_decide() -> None:
    found = spread(np.array([-0.02, 0.06]), V)
    assert found.between_repeats == pytest.approx(3.2e-3)
    assert found.error == pytest.approx(0.041231, abs=1e-6)
    assert found.df == pytest.approx(1.129, abs=5e-4)
    assert 2 * stats.t.sf(0.02 / found.error, found.df) == pytest.approx(0.705, abs=5e-4)


def test_negative_parts_are_nothing() -> None:
    found = spread(np.array([0.01, 0.01]), np.array([[1e-4, -5e-5], [-5e-5, 1e-4]]))
    assert (found.common, found.own) == (0.0, pytest.approx(1e-4))
    assert found.error == pytest.approx(np.sqrt(1e-4 / 2))


def test_no_spread_at_all() -> None:
    found = spread(np.zeros(3), np.zeros((3, 3)))
    assert (found.error, found.df) == (0.0, np.inf)


@pytest.mark.parametrize(
    ("repeats", "seeds", "expected"),
    [(2, 0, 0.03), (2, 1, 0.08), (3, 0, 0.03), (3, 1, 0.06), (3, 4, 0.07), (5, 0, 0.04), (5, 4, 0.06)],
)
def test_false_findings_of_a_gaussian_model(repeats: int, seeds: float, expected: float) -> None:
    # Two equal arms: variance C shared by all repeats, W of each one's own, `seeds` times W of the training's luck.
    rng, common, own = np.random.default_rng(repeats), 1e-4, 12e-4
    covariance = common + own * np.eye(repeats)
    draws, found = 4000, 0
    for _ in range(draws):
        values = np.sqrt(common) * rng.normal() + np.sqrt(own * (1 + seeds)) * rng.normal(size=repeats)
        one = spread(values, covariance)
        found += abs(values.mean()) / one.error > stats.t.ppf(0.975, min(one.df, 1e9))
    assert found / draws == pytest.approx(expected, abs=0.012)


# --- one repeat -----------------------------------------------------------------------------------------------


def test_one_repeat_is_the_patient_jackknife_of_the_difference() -> None:
    y_true, (a, b), patients = data(0)
    found = compare(runs(y_true, a, patients), runs(y_true, b, patients)).macro

    def macro(score: np.ndarray, kept: np.ndarray) -> float:
        known = kept[:, None] & ~np.isnan(y_true)
        return float(
            np.mean([roc_auc_score(y_true[known[:, i], i], score[known[:, i], i]) for i in range(3)])
        )

    names = np.unique(patients)
    left = np.array([macro(a[0], patients != g) - macro(b[0], patients != g) for g in names])
    variance = (len(names) - 1) / len(names) * ((left - left.mean()) ** 2).sum()
    everyone = np.ones(len(patients), bool)
    assert found.estimate.value == pytest.approx(macro(a[0], everyone) - macro(b[0], everyone))
    assert found.error == pytest.approx(np.sqrt(variance))
    assert found.df is not None and found.t is not None
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.t), found.df))
    quantile = stats.t.ppf(0.975, found.df)
    assert found.estimate.high == pytest.approx(found.estimate.value + quantile * found.error)
    assert found.detectable == pytest.approx((quantile + stats.t.ppf(0.8, found.df)) * found.error)
    assert found.between_repeats is None
    assert 10 < found.df < 3 * len(names)


def test_each_label_is_compared_alone() -> None:
    y_true, (a, b), patients = data(1)
    whole = compare(runs(y_true, a, patients), runs(y_true, b, patients))
    for i, found in enumerate(whole.per_label):
        own = [[s[:, i : i + 1] for s in arm] for arm in (a, b)]
        alone = compare(*(runs(y_true[:, i : i + 1], scores, patients) for scores in own))
        assert alone.macro.p == pytest.approx(found.p)
        assert alone.per_label[0] == alone.macro


def test_compared_with_itself() -> None:
    for repeats in (1, 2, 3):
        y_true, (a, _), patients = data(2, repeats=repeats)
        found = compare(runs(y_true, a, patients), runs(y_true, a, patients))
        for one in (found.macro, *found.per_label):
            assert (one.estimate.value, one.p, one.error) == (0.0, 1.0, 0.0)
            assert one.estimate.reason == "the two give the same on every patient"


def test_a_label_of_one_patients_positives_is_left_out_of_the_mean() -> None:
    y_true, (a, b), patients = data(3)
    y_true[:, 1] = patients == patients[0]
    found = compare(runs(y_true, a, patients), runs(y_true, b, patients))
    assert found.labels == [0, 2]
    assert found.per_label[1].estimate.reason == "one patient has all positives"
    assert found.adjusted()[0][1] is None
    kept = [[s[:, [0, 2]] for s in arm] for arm in (a, b)]
    assert found.macro == compare(*(runs(y_true[:, [0, 2]], scores, patients) for scores in kept)).macro
    nothing = compare(*(runs(y_true[:, 1:2], [s[:, 1:2] for s in arm], patients) for arm in (a, b)))
    assert verdict(nothing.macro) == "no verdict: no label has a standard error"


# --- several repeats ------------------------------------------------------------------------------------------


def test_three_repeats_by_their_influences() -> None:
    # The influence functions of macro-AUC (Obuchowski 1997) instead of leaving patients out.
    y_true, (a, b), patients = data(4, n=1500, repeats=3)
    found = compare(runs(y_true, a, patients), runs(y_true, b, patients)).macro
    differences = np.array(
        [auc_estimates(y_true, x, patients).macro.value - auc_estimates(y_true, y, patients).macro.value for x, y in zip(a, b, strict=True)]  # type: ignore[operator]
    )  # fmt: skip

    def influence(score: np.ndarray) -> np.ndarray:
        total = np.zeros(len(patients))
        for i in range(3):
            truth, s = y_true[:, i], score[:, i]
            m, n = s[truth == 1], s[truth == 0]
            wins = (m[:, None] > n).astype(float) + 0.5 * (m[:, None] == n)
            total[truth == 1] += (wins.mean(axis=1) - wins.mean()) / len(m) / 3
            total[truth == 0] += (wins.mean(axis=0) - wins.mean()) / len(n) / 3
        return np.bincount(patients, total)

    each = np.stack([influence(x) - influence(y) for x, y in zip(a, b, strict=True)])
    expected = spread(differences, each @ each.T)
    assert found.error == pytest.approx(expected.error, rel=0.01)
    assert found.own == pytest.approx(expected.own, rel=0.02)
    assert found.estimate.value == pytest.approx(differences.mean())
    assert found.between_repeats == pytest.approx(differences.var(ddof=1))


def test_the_influences_squares_are_the_jackknifes_variance() -> None:
    y_true, (a, _), patients = data(5, n=1500)
    [label, *_] = leave_one_out_auc(y_true[:, :1], a[0][:, :1], patients)
    reference = delong_errors(y_true[:, :1], a[0][:, :1], patients)[0]
    assert np.sqrt(label.variance) == pytest.approx(reference, rel=0.01)


def test_unpaired_arms_add_their_squares() -> None:
    y_true, (a, b), patients = data(6, repeats=3)
    ours, theirs = runs(y_true, a, patients), runs(y_true, b[:2], patients)
    found = compare(ours, theirs, paired=False).macro
    each = []
    for arm in (ours, theirs):
        means = [np.mean([label.value for label in run]) for run in arm]
        without = np.stack([np.mean([label.without for label in run], axis=0) for run in arm])
        centred = (without - without.mean(axis=1, keepdims=True)) * np.sqrt(1 - 1 / without.shape[1])
        each.append(spread(np.array(means), centred @ centred.T))
    assert found.error == pytest.approx(np.hypot(each[0].error, each[1].error))
    assert found.repeats == 2
    assert found.estimate.value == pytest.approx(found.a - found.b)
    paired = compare(ours[:2], theirs).macro
    assert found.error > paired.error  # type: ignore[operator]
    with pytest.raises(ValueError, match="3 and 2 repeats cannot be compared"):
        compare(ours, theirs)


def test_losses_are_compared_by_the_same_rule() -> None:
    rng = np.random.default_rng(7)
    losses, patients = rng.random((2, 90, 1)), np.repeat(np.arange(45), 2)
    found = compare(*([list(leave_one_out_mean(one, patients))] for one in losses)).macro
    difference = (losses[0] - losses[1]).reshape(45, 2).mean(axis=1)
    assert found.estimate.value == pytest.approx(difference.mean())
    assert found.error == pytest.approx(difference.std(ddof=1) / np.sqrt(45))  # patients of two images each
    assert found.p == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)


def test_an_arms_own_mean() -> None:
    y_true, (a, _), patients = data(8, repeats=3)
    one = mean_of_repeats(runs(y_true, a[:1], patients))
    expected = auc_estimates(y_true, a[0], patients).macro
    assert (one.value, one.low, one.high) == pytest.approx((expected.value, expected.low, expected.high))
    three = mean_of_repeats(runs(y_true, a, patients))
    assert three.value == pytest.approx(np.mean([auc_estimates(y_true, s, patients).macro.value for s in a]))
    assert mean_of_repeats([[]]).reason == "no label has a standard error"


def test_false_findings_of_one_repeat() -> None:
    # Arms that are equal by construction, 60 patients: the patient jackknife of D with its t.
    found = 0
    for seed in range(200):
        y_true, (a, b), patients = data(1000 + seed, n=180)
        found += compare(runs(y_true, a, patients), runs(y_true, b, patients)).macro.p < 0.05  # type: ignore[operator]
    assert 0.01 <= found / 200 <= 0.09


# --- many labels, and what one may say ------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.5, np.nan, 0.9])) == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)
    assert holm(np.array([])).tolist() == []


def test_benjamini_hochberg_against_scipy() -> None:
    p = np.random.default_rng(0).random(20) ** 3
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    with_nan = np.append(p, np.nan)
    assert benjamini_hochberg(with_nan)[:-1] == pytest.approx(benjamini_hochberg(p))


def finding(value: float, p: float | None, repeats: int) -> Difference:
    estimate = Estimate(value, reason="x")
    return Difference(estimate, 0.8, 0.8 - value, repeats, p=p, detectable=0.00672)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (finding(0.01, 0.03, 3), "A is higher"),
        (finding(-0.01, 0.03, 5), "B is higher"),
        (finding(0.01, 0.05, 3), "not distinguishable; a difference of 0.0067 would have been found"),
        (finding(0.01, 1e-9, 2), "two repeats: not a test"),
        (
            finding(0.01, 4e-9, 1),
            "these two trained ensembles differ on patients like these; nothing about the method (one repeat)",
        ),
        (
            finding(0.01, 0.2, 1),
            "these two trained ensembles do not differ on patients like these; nothing about the method (one repeat)",
        ),
        (finding(0.01, None, 3), "no verdict: x"),
    ],
)
def test_the_verdict(found: Difference, said: str) -> None:
    assert verdict(found) == said


def test_three_equal_repeats_need_no_smallest_difference() -> None:
    same = replace(finding(0.0, 1.0, 3), detectable=None)
    assert verdict(same) == "not distinguishable: the two give the same on every patient"
