"""Rows of the sections `decisions` and `sets`: against loops over cells."""

from __future__ import annotations

import numpy as np
import pytest

from couplet.evaluation.prevalence import prevalences
from couplet.evaluation.sets import conformal_record, prediction_sets, realised_coverage
from couplet.reporting.rows_decisions import judgements
from couplet.reporting.rows_sets import abstention_rows, all_right, augrc_estimate, coverage_rows


def test_a_judgement_counts_cells() -> None:
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, np.nan])[:, None]
    q = np.array([0.9, 0.8, 0.7, 0.1, 0.6, 0.5, 0.1, 0.1, 0.1, 0.9])[:, None]
    row = judgements(truth, q, np.arange(10), np.array([0.5]))[0]
    assert row is not None
    values = [one.value for one in row]
    # TP 3, FP 2, FN 1, TN 3 of 9; odds of the threshold 1.
    assert values == pytest.approx([3 / 4, 3 / 5, 3 / 5, 3 / 4, 5 / 9, 3 / 9 - 2 / 9, 4 / 9 - 5 / 9])
    assert all(one.n_positive_patients == 4 and one.flags == ("few",) for one in row)
    assert row.specificity.n_images == 5 and row.ppv.n_images == 5


def test_specificity_is_not_flagged_for_having_no_positives_among_negatives() -> None:
    truth = np.tile([[1.0], [0.0]], (20, 1))
    row = judgements(truth, np.tile([[0.8], [0.3]], (20, 1)), np.arange(40), np.array([0.5]))[0]
    assert row is not None and row.specificity.flags == () and row.specificity.n_positive_patients == 20


def test_a_label_without_a_threshold_has_no_row_and_folds_have_their_own() -> None:
    truth, q = np.array([[1, 1], [0, 0], [1, 1.0]]), np.full((3, 2), 0.5)
    thresholds = np.array([[0.4, np.nan], [0.6, np.nan], [np.nan, np.nan]])
    first, second = judgements(truth, q, np.arange(3), thresholds)
    assert second is None
    assert first is not None and (first.sensitivity.n_images, first.positive_rate.n_images) == (1, 2)


def test_prevalences() -> None:
    truth = np.array([[1, np.nan], [0, np.nan], [np.nan, np.nan], [1, np.nan]])
    assert prevalences(truth)[0] == pytest.approx(2 / 3) and np.isnan(prevalences(truth)[1])


def sets() -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(5)
    n, m = 300, 120
    truth = (random.random((n + m, 2)) < 0.3).astype(float)
    p = np.clip(0.3 * truth + random.random((n + m, 2)) * 0.7, 0, 1)
    truth[n::7, 0] = np.nan
    views = np.where(np.arange(n + m) % 3 == 0, "AP", "PA")
    record = conformal_record(truth[:n], p[:n], np.arange(n) // 2, np.arange(n) // 2 % 3, views[:n])
    by_fold = np.stack([p[n:]] * 3)
    decision = prediction_sets(record, by_fold, views[n:], 0.1).decision
    return record, truth[n:], decision, np.arange(m) // 3, views[n:]


def test_coverage_is_the_mean_over_patients_within_class_and_view() -> None:
    record, truth, decision, patients, views = sets()
    rows = coverage_rows(record, 0.1, truth, decision, patients, views, [0, 1])
    assert [(row.label, row.y, row.category) for row in rows[:4]] == [
        (0, 1, "AP"),
        (0, 1, "PA"),
        (0, 0, "AP"),
        (0, 0, "PA"),
    ]
    for row in rows:
        shares = []
        for patient in set(patients.tolist()):
            own = (patients == patient) & (views == row.category) & (truth[:, row.label] == row.y)
            if own.any():
                shares.append(np.isin(decision[own, row.label], (row.y, 2)).mean())
        assert row.measured is not None
        assert row.measured.value == pytest.approx(np.mean(shares)) and row.measured.n_patients == len(shares)
        low, high = realised_coverage(np.array(row.n_calibration), 0.1)
        assert row.promised == (float(low), float(high)) and not row.never_dropped


def test_hidden_labels_leave_coverage_unmeasured_and_the_kinds_of_sets_counted() -> None:
    record, truth, decision, patients, views = sets()
    hidden = np.full(truth.shape, np.nan)
    assert all(
        row.measured is None for row in coverage_rows(record, 0.1, hidden, decision, patients, views, [1])
    )
    row = abstention_rows(hidden, decision, patients)[1]
    assert row.singletons.value == pytest.approx((decision[:, 1] < 2).mean())
    assert row.both.value == pytest.approx((decision[:, 1] == 2).mean())
    assert row.singleton_errors.value is None


def test_abstention_against_loops() -> None:
    _, truth, decision, patients, _ = sets()
    row = abstention_rows(truth, decision, patients)[0]
    known = ~np.isnan(truth[:, 0])
    y, said = truth[known, 0], decision[known, 0]
    sure = said < 2
    assert row.singletons.value == pytest.approx(sure.mean())
    assert row.singleton_errors.value == pytest.approx((said[sure] != y[sure]).mean())
    assert row.ppv.value == pytest.approx((y[said == 1] == 1).mean())
    assert row.npv.value == pytest.approx((y[said == 0] == 0).mean())
    right = [
        all(np.isnan(t) or d in (t, 2) for t, d in zip(truth[i], decision[i], strict=True))
        for i in range(len(truth))
    ]
    assert all_right(truth, decision, patients).value == pytest.approx(np.mean(right))


def test_augrc_has_the_brute_force_jackknife_s_interval() -> None:
    from couplet.evaluation.risk import augrc

    random = np.random.default_rng(1)
    truth, q, patients = (
        (random.random((60, 2)) < 0.4).astype(float),
        random.random((60, 2)),
        np.arange(60) // 2,
    )
    found = augrc_estimate(truth, q, patients)
    without = np.array([augrc(truth[patients != g], q[patients != g]) for g in range(30)])
    error = np.sqrt(29 / 30 * ((without - without.mean()) ** 2).sum())
    value = augrc(truth, q)
    assert found.value == pytest.approx(value)
    assert found.low is not None and found.high is not None
    logit = [np.log(v / (1 - v)) for v in (found.low, value, found.high)]
    reach = 2.0452296 * error / (value * (1 - value))  # t of 29 degrees of freedom
    assert (logit[2] - logit[1], logit[1] - logit[0]) == pytest.approx((reach, reach))
    assert augrc_estimate(truth, truth * 0.8 + 0.1, patients).reason == "no call is wrong"
