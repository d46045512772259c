"""Rows of the section `groups`: against brute-force removal of patients, loops and `evaluation.shortcuts`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from couplet.evaluation.multiple_tests import holm
from couplet.evaluation.sets import ABSENT, PRESENT
from couplet.evaluation.shortcuts import shortcuts
from couplet.reporting.rows_differences import COMPARED, RATIO, compared, differences
from couplet.reporting.rows_groups import OTHERS, Judged, folded, group_rows, with_coverage
from couplet.reporting.rows_shortcuts import shortcut_rows


def drawn(n: int = 480, seed: int = 11) -> tuple[Judged, dict[str, np.ndarray]]:
    """Two images a patient; view b has more positives and a score that stands higher."""
    random = np.random.default_rng(seed)
    view = np.array(["a", "b", "c"], dtype=object)[np.arange(n) % 3]
    sex = np.where(np.arange(n) // 2 % 2 == 0, "F", "M").astype(object)
    truth = (random.random((n, 2)) < np.where(view == "b", 0.6, 0.3)[:, None]).astype(float)
    score = 0.8 * truth + random.normal(0, 0.7, (n, 2)) + np.where(view == "b", 0.8, 0)[:, None]
    p = 1 / (1 + np.exp(-score))
    truth[::17, 1] = np.nan
    return Judged(truth, p, 0.9 * p, np.full((n, 2), 0.5), np.arange(n) // 2), {"sex": sex, "view": view}


def value_of(judged: Judged, label: int, measure: str) -> float:
    known = ~np.isnan(judged.truth[:, label])
    y, p, q = judged.truth[known, label], judged.p[known, label], judged.q[known, label]
    if measure == "AUC":
        return float(roc_auc_score(y, p))
    if measure == RATIO:
        return float(np.log(y.sum() / q.sum()))
    called = q >= 0.5
    return float(called[y == 1].mean() if measure == "sensitivity" else (~called)[y == 0].mean())


def test_differences_are_those_of_removing_each_patient() -> None:
    judged, attributes = drawn(240)
    rows = group_rows(judged, {"view": attributes["view"]})
    found = differences(judged, rows)
    assert len(found) == 3 * 2 * len(COMPARED)
    inside = attributes["view"] == "b"
    checked = [one for one in found if one.value == "b"]
    for one in checked:
        truth = judged.truth[:, one.label]
        cells = {"sensitivity": truth == 1, "specificity": truth == 0}.get(one.measure, ~np.isnan(truth))
        left = []
        for patient in sorted(set(judged.patients[cells].tolist())):
            stays = judged.patients != patient
            parts = [judged.of(stays & side) for side in (inside, ~inside)]
            left.append(
                value_of(parts[0], one.label, one.measure) - value_of(parts[1], one.label, one.measure)
            )
        values, n = np.array(left), len(left)
        error = np.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum())
        whole = [value_of(judged.of(side), one.label, one.measure) for side in (inside, ~inside)]
        assert one.difference == pytest.approx(whole[0] - whole[1])
        assert one.standard_error == pytest.approx(error, rel=1e-6)
        assert one.inside == pytest.approx(np.exp(whole[0]) if one.measure == RATIO else whole[0])
        estimate = one.estimate
        assert estimate.low is not None and estimate.low < one.difference
    assert {one.label for one in checked} == {0, 1}


def test_holm_is_over_the_groups_and_labels_of_one_measure() -> None:
    judged, attributes = drawn()
    found = [one for one in differences(judged, group_rows(judged, attributes)) if one.measure == "AUC"]
    # sex F alone, since M is its rest, and three views
    assert [(one.attribute, one.value) for one in found[::2]] == [
        ("sex", "F"),
        ("view", "a"),
        ("view", "b"),
        ("view", "c"),
    ]
    raw = []
    for one in found:
        t = one.difference / one.standard_error
        low, high = one.estimate.low, one.estimate.high
        assert low is not None and high is not None
        reach = (high - low) / 2 / one.standard_error  # t's quantile, which says its degrees of freedom
        df = min(range(5, 400), key=lambda df: abs(stats.t.ppf(0.975, df) - reach))
        raw.append(2 * stats.t.sf(abs(t), df))
    assert [one.p_holm for one in found] == pytest.approx(holm(np.array(raw)).tolist(), rel=1e-3)


def test_a_planted_difference_is_found() -> None:
    judged, attributes = drawn(1200)
    found = {
        (one.attribute, one.value, one.label, one.measure): one
        for one in differences(judged, group_rows(judged, attributes))
    }
    one = found["view", "b", 0, "specificity"]
    assert one.differs and one.difference < 0


def test_equal_groups_are_rarely_said_to_differ() -> None:
    """In 5 % of draws at most, by Holm's promise: 40 draws with 2 labels, where 6 or more have a chance of 1.4 %."""
    found = 0
    for seed in range(40):
        judged, attributes = drawn(240, seed)
        rows = group_rows(judged, {"sex": attributes["sex"]})
        found += any(one.differs for one in differences(judged, rows) if one.measure == "specificity")
    assert found <= 5


def test_small_groups_are_counted_and_not_scored_nor_compared() -> None:
    judged, _ = drawn(300)
    site = np.where(np.arange(300) < 80, "small", "large").astype(object)  # 40 patients and 110
    rows = group_rows(judged, {"site": site})
    assert [(row.group.value, row.group.n_patients, row.group.shown) for row in rows] == [
        ("large", 110, True),
        ("small", 40, False),
    ]
    assert rows[1].labels == [None, None] and rows[0].labels[0] is not None
    assert [row.group.value for row in compared(rows)] == ["large"]
    assert differences(judged, rows) == [], "the rest is too small to be scored"


def test_group_rows_have_the_numbers_of_their_images() -> None:
    judged, attributes = drawn()
    row = group_rows(judged, {"view": attributes["view"]})[1]
    own = judged.of(attributes["view"] == "b")
    one = row.labels[1]
    assert one is not None and row.group.value == "b"
    assert one.auc.value == pytest.approx(value_of(own, 1, "AUC"))
    assert one.observed_over_expected.value == pytest.approx(np.exp(value_of(own, 1, RATIO)))
    assert one.sensitivity.value == pytest.approx(value_of(own, 1, "sensitivity"))
    known = ~np.isnan(own.truth[:, 1])
    called = own.q[known, 1] >= 0.5
    assert one.flagged.value == pytest.approx(called.mean())
    assert one.ppv.value == pytest.approx(own.truth[known, 1][called].mean())
    assert row.prevalence[1] == pytest.approx(np.nanmean(own.truth[:, 1]))


def test_coverage_of_a_group_is_of_its_test_images() -> None:
    judged, attributes = drawn()
    rows = group_rows(judged, {"sex": attributes["sex"]})
    decision = np.where(judged.p >= 0.5, PRESENT, ABSENT)
    female = with_coverage(rows, attributes, judged.truth, decision, judged.patients)[0]
    assert female.coverage[0] is not None and rows[0].coverage == [None, None]
    own = judged.of(attributes["sex"] == "F")
    said = own.p[:, 0] >= 0.5
    shares = [
        said[(own.patients == patient) & (own.truth[:, 0] == 1)].mean()
        for patient in sorted(set(own.patients[own.truth[:, 0] == 1].tolist()))
    ]
    assert female.coverage[0].present.value == pytest.approx(np.mean(shares))


def test_shortcut_rows_are_those_of_the_plain_functions() -> None:
    judged, attributes = drawn()
    folds = judged.patients % 3
    constant = {"site": np.full(len(folds), "one", dtype=object)}
    rows = shortcut_rows(judged, attributes | constant, folds)
    assert [row.attribute for row in rows] == ["sex", "view"]
    for row in rows:
        plain = shortcuts(judged.truth, judged.p, attributes[row.attribute], folds)
        for column, name in (
            (row.pooled, "pooled"),
            (row.within, "within"),
            (row.attribute_only, "attribute_only"),
        ):
            values = [one.value for one in column.per_label]
            assert values == pytest.approx(getattr(plain, name).tolist()), (row.attribute, name)
        assert [one.macro.value for one in row[1:4]] == pytest.approx(list(plain.macro()))
        assert row.contributes == pytest.approx(plain.macro()[0] - plain.macro()[1])
        assert [one.value for one in row.difference[:-1]] == pytest.approx(
            (plain.pooled - plain.within).tolist()
        )
    assert rows[1].contributes > 0.02 > abs(rows[0].contributes)


def test_the_interval_of_pooled_minus_within_is_the_brute_force_jackknife_s() -> None:
    judged, attributes = drawn(120)
    folds, view = judged.patients % 3, attributes["view"]
    row = shortcut_rows(judged, {"view": view}, folds)[0]

    def difference(stays: np.ndarray) -> np.ndarray:
        found = shortcuts(judged.truth[stays], judged.p[stays], view[stays], folds[stays])
        return np.append(found.pooled - found.within, (found.pooled - found.within).mean())

    left = np.array([difference(judged.patients != g) for g in range(60)])
    errors = np.sqrt(59 / 60 * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
    for one, error, middle in zip(row.difference, errors, difference(np.ones(120, bool)), strict=True):
        assert one.value == pytest.approx(middle)
        assert one.low is not None and one.high is not None
        quantile = (one.high - one.low) / 2 / error
        # 59 degrees of freedom at most for a label, of the mean of two up to twice as many
        assert stats.t.ppf(0.975, 118) <= quantile < stats.t.ppf(0.975, 12)


def test_many_values_are_folded_into_one_group() -> None:
    names = np.array([f"site {i:02d}" for i in range(40) for _ in range(i + 1)], dtype=object)
    values = folded(names, np.arange(len(names)))
    assert sorted(set(values)) == [OTHERS, *(f"site {i}" for i in range(28, 40))]
    assert (values == OTHERS).sum() == sum(range(1, 29))
    few = np.array(["x", "y"], dtype=object)
    assert folded(few, np.arange(2)).tolist() == ["x", "y"]
