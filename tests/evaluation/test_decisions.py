from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from couplet.evaluation.decisions import (
    RULES,
    cross_fitted_thresholds,
    just_above,
    operating_points,
    values,
)
from couplet.settings.schema.decision import DecisionParams
from tests.support.predictions import drawn_predictions as drawn

DEFAULT = DecisionParams()


def same(scores: np.ndarray) -> np.ndarray:
    return scores


def points_of(
    truth: list[float], p: list[float], patients: list[int] | None = None, **targets: float
) -> dict[str, float | None]:
    """Thresholds of one label whose q is p, in one fold, unless given each row its own patient."""
    who = np.arange(len(truth)) if patients is None else np.array(patients)
    column, scores = np.array(truth, float)[:, None], np.array(p)[:, None]
    settings = DecisionParams(**targets)  # type: ignore[arg-type]
    found = operating_points(column, scores, scores, who, np.zeros(len(truth), int), settings, same)
    return {rule: points[0].value for rule, points in found.items()}


def test_f1_by_hand() -> None:
    q = [0.9, 0.6, 0.2, 0.1]
    f1 = [2 * sum(q[:k]) / (k + sum(q)) for k in (1, 2, 3, 4)]
    assert f1 == pytest.approx([0.6429, 0.7895, 0.7083, 0.6207], abs=5e-5)
    assert points_of([1, 1, 0, 0], q)["f1"] == 0.6  # the second is highest
    assert 0.2 < max(f1) / 2 < 0.6, "calling what is above half of it gives the same calls (Lipton 2014)"


def test_youden_is_the_prevalence_and_cost_the_odds() -> None:
    found = points_of([1, 0, 0, 0, np.nan], [0.9, 0.6, 0.2, 0.1, 0.5], cost_ratio=3.0)
    assert (found["youden"], found["cost"]) == (0.25, 0.25)
    assert points_of([1, 0], [0.9, 0.1])["cost"] == 0.5


def test_youden_of_calibrated_probabilities_maximises_j() -> None:
    rng = np.random.default_rng(0)
    q = expit(rng.normal(-2, 1.5, 200_000))
    y = rng.random(len(q)) < q
    grid = np.linspace(0.02, 0.6, 291)
    j = [(q[y] >= t).mean() - (q[~y] >= t).mean() for t in grid]
    assert grid[np.argmax(j)] == pytest.approx(y.mean(), abs=0.03)
    at_prevalence = (q[y] >= y.mean()).mean() - (q[~y] >= y.mean()).mean()
    assert at_prevalence > max(j) - 0.002


def test_prevalence_calls_as_many_as_are_positive() -> None:
    truth, q, patients = drawn(2)
    q = q + np.random.default_rng(0).random(q.shape) / 100  # no ties
    found = operating_points(truth, q, q, patients, np.zeros(len(q), int), DEFAULT, same)
    for label in range(3):
        known = ~np.isnan(truth[:, label])
        called = q[known, label] >= found["prevalence"][label].value
        assert called.sum() == (truth[:, label] == 1).sum()


def kept(
    truth: np.ndarray, p: np.ndarray, patients: np.ndarray, folds: np.ndarray, y: int, at: float
) -> float:
    """The p-value of class y at a score, in plain loops."""
    rows = [i for i in range(len(p)) if truth[i] == y]
    units = {(patients[i], folds[i]) for i in rows}
    total = 1.0
    for i in rows:
        alike = sum(patients[j] == patients[i] and folds[j] == folds[i] for j in rows)
        total += ((p[i] <= at) if y else (p[i] >= at)) / alike
    return total / (len(units) + 1)


@pytest.mark.parametrize("target", [0.9, 0.75, 0.6])
def test_rank_rules_against_loops(target: float) -> None:
    truth, p, patients = drawn(3, n=120)
    folds = patients % 3
    settings = DecisionParams(sensitivity=target, specificity=target)
    found = operating_points(truth, p, p, patients, folds, settings, same)
    for label in range(3):
        known = ~np.isnan(truth[:, label])
        data = (truth[known, label], p[known, label], patients[known], folds[known])
        grid = np.unique(p[known, label])
        for y, rule in ((1, "sensitivity"), (0, "specificity")):
            passing = [s for s in grid if kept(*data, y, s) > 1 - target + 1e-9]
            value = found[rule][label].value
            if len(np.unique(data[2][data[0] == y])) < 1 / (1 - target) - 1 - 1e-9:
                # Any threshold would do: none says anything.
                assert value is None and len(passing) == len(grid)
            else:
                assert value == (min(passing) if y else just_above(max(passing)))


def test_rank_rules_by_hand() -> None:
    # Positives .2 .4 .6 .8, own patients: (1 + c) / 5 > 0.4 first at c = 2, the score .4.
    assert points_of([1, 1, 1, 1], [0.8, 0.2, 0.6, 0.4], sensitivity=0.6)["sensitivity"] == 0.4
    # Two images of one patient are half each: .2, .4 -> weights .5, .5, 1, 1; M = 3; (1 + c) / 4 > 0.4 at c = 1: .4.
    found = points_of([1, 1, 1, 1], [0.2, 0.4, 0.6, 0.8], [0, 0, 1, 2], sensitivity=0.6)
    assert found["sensitivity"] == 0.4
    # Negatives from above: .8 and .6 are the first two, so .6 is still called negative and what is above is not.
    found = points_of([0, 0, 0, 0], [0.8, 0.2, 0.6, 0.4], specificity=0.6)
    assert found["specificity"] == 0.600000001


def test_not_reachable_says_how_many_patients_are_needed() -> None:
    def sensitivity(n: int, target: float):
        truth, p = np.ones((n, 1)), np.linspace(0.1, 0.9, n)[:, None]
        settings = DecisionParams(sensitivity=target)
        found = operating_points(truth, p, p, np.arange(n), np.zeros(n, int), settings, same)
        return found["sensitivity"][0]

    assert sensitivity(8, 0.9).value is None
    assert sensitivity(8, 0.9).reason == "not reachable: 8 patients have an image of the class, 9 needed"
    assert sensitivity(9, 0.9).value == pytest.approx(0.1)  # the lowest positive
    assert sensitivity(18, 0.95).value is None and sensitivity(19, 0.95).value is not None


def test_one_class_has_no_prevalence() -> None:
    truth, p, who = np.array([[0.0, 1.0]] * 20), np.full((20, 2), 0.3), np.arange(20)
    found = operating_points(truth, p, p, who, who * 0, DEFAULT, same)
    for rule in ("youden", "prevalence"):
        assert [point.reason for point in found[rule]] == ["no positive image", "no negative image"]
    assert values(found["cost"]).tolist() == [0.5, 0.5]
    assert found["sensitivity"][0].reason == "not reachable: 0 patients have an image of the class, 9 needed"
    assert (
        operating_points(truth, p, p * 0, who, who * 0, DEFAULT, same)["f1"][0].reason
        == "no probability above 0"
    )


def test_unknown_cells_are_as_if_they_were_not_there() -> None:
    truth, p, patients = drawn(4)
    q, folds = p**2, patients % 3
    found = operating_points(truth, p, q, patients, folds, DEFAULT, np.square)
    for label in range(3):
        known = ~np.isnan(truth[:, label])
        cells = (truth[known][:, [label]], p[known][:, [label]], q[known][:, [label]])
        alone = operating_points(*cells, patients[known], folds[known], DEFAULT, np.square)
        assert [found[rule][label] for rule in RULES] == [alone[rule][0] for rule in RULES]


def test_rank_rules_are_shown_on_the_scale_of_q_and_decide_as_on_p() -> None:
    truth, p, patients = drawn(5)
    calibrator = lambda scores: expit(3 * scores - 2)  # noqa: E731
    on_p = operating_points(truth, p, p, patients, patients % 3, DEFAULT, same)
    on_q = operating_points(truth, p, calibrator(p), patients, patients % 3, DEFAULT, calibrator)
    for rule in ("sensitivity", "specificity"):
        np.testing.assert_array_equal(calibrator(p) >= values(on_q[rule]), p >= values(on_p[rule]))


def test_a_fold_is_judged_by_the_thresholds_of_the_others() -> None:
    truth, p, patients = drawn(6)
    folds = patients % 3
    maps = {fold: (lambda scores, fold=fold: scores ** (fold + 1)) for fold in range(3)}
    q = np.stack([maps[int(fold)](row) for fold, row in zip(folds, p, strict=True)])
    found = cross_fitted_thresholds(truth, p, q, patients, folds, DEFAULT, maps)
    for fold in range(3):
        others, own = folds != fold, folds == fold
        expected = operating_points(
            truth[others], p[others], q[others], patients[others], folds[others], DEFAULT, maps[fold]
        )
        for rule in RULES:
            assert (found[rule][own] == values(expected[rule])).all()
    # The fold's own labels change nothing of how it is judged.
    changed = truth.copy()
    changed[folds == 1] = 1 - changed[folds == 1]
    again = cross_fitted_thresholds(changed, p, q, patients, folds, DEFAULT, maps)
    assert all((again[rule][folds == 1] == found[rule][folds == 1]).all() for rule in RULES)
    with pytest.raises(ValueError, match="at least two folds"):
        cross_fitted_thresholds(truth, p, q, patients, folds * 0, DEFAULT, maps)


def test_the_sensitivity_rule_keeps_its_word_where_a_quantile_does_not() -> None:
    # Rare label: 40 patients with one positive each, calibration by ranks. Target 0.9.
    rng = np.random.default_rng(0)
    by_rule, by_quantile = [], []
    for _ in range(200):
        p = expit(rng.normal(0, 1, 15))
        found = points_of([1] * 15, p.tolist(), sensitivity=0.9)["sensitivity"]
        new = expit(rng.normal(0, 1, 2000))
        by_rule.append((new >= found).mean())
        by_quantile.append((new >= np.quantile(p, 0.1)).mean())
    assert np.mean(by_rule) == pytest.approx(15 / 16, abs=0.01)  # (M + 1 - l) / (M + 1) with l = 1
    assert np.mean(by_quantile) < 0.88


def test_the_next_number_of_nine_digits() -> None:
    assert just_above(0.123456789) == 0.12345679
    assert just_above(0.999999999) == 1.0
    assert just_above(0.0) > 0
    for value in np.random.default_rng(0).random(200).astype(np.float32).tolist():
        assert just_above(value) > value
        assert float(f"{np.nextafter(np.float32(value), np.float32(2)):.9g}") >= just_above(value)
