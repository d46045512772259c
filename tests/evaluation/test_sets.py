from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import beta

from couplet.evaluation.hits import patient_shares, share
from couplet.evaluation.set_scores import all_labels_right, set_scores
from couplet.evaluation.sets import (
    conformal_record,
    never_dropped,
    prediction_sets,
    realised_coverage,
    record_of_arrays,
)


def drawn(seed: int, n: int = 150) -> tuple[np.ndarray, ...]:
    """(truth, p, patients, folds, category) of two labels with ties and unknown cells."""
    rng = np.random.default_rng(seed)
    patients = rng.integers(0, 50, n)
    truth = (rng.random((n, 2)) < [0.3, 0.6]).astype(float)
    p = (rng.random((n, 2)) * 0.6 + truth * 0.3).round(1)
    truth[rng.random((n, 2)) < 0.2] = np.nan
    return truth, p, patients, patients % 3, np.array(["AP", "PA", ""])[rng.integers(0, 3, n)]


def p_values_in_loops(
    rows: tuple[np.ndarray, ...], p_new: np.ndarray, category: str, label: int
) -> tuple[float, float]:
    """P_1 and P_0 of one image, as the formula is written."""
    truth, p, patients, folds, categories = rows
    found = []
    for y in (1, 0):
        chosen = [i for i in range(len(p)) if truth[i, label] == y and categories[i] == category]
        total = 1.0
        for i in chosen:
            own = sum(patients[j] == patients[i] and folds[j] == folds[i] for j in chosen)
            new = p_new[folds[i], label]
            total += (p[i, label] <= new if y else p[i, label] >= new) / own
        found.append(total / (len({(patients[i], folds[i]) for i in chosen}) + 1))
    return found[0], found[1]


@pytest.mark.parametrize("alpha", [0.1, 0.25, 0.4])
def test_against_loops_with_ties_and_unknown_cells(alpha: float) -> None:
    rows = drawn(0)
    rng = np.random.default_rng(9)
    p_new = rng.random((3, 40, 2)).round(1)
    category = np.array(["AP", "PA", "", "LATERAL"])[rng.integers(0, 4, 40)]
    sets = prediction_sets(conformal_record(*rows), p_new, category, alpha)
    for image in range(40):
        for label in range(2):
            present, absent = p_values_in_loops(rows, p_new[:, image], category[image], label)
            assert sets.p_present[image, label] == pytest.approx(present, abs=1e-9)
            assert sets.p_absent[image, label] == pytest.approx(absent, abs=1e-9)
            expected = {(False, True): 0, (True, False): 1, (True, True): 2, (False, False): 3}
            kept = (present > alpha + 1e-9, absent > alpha + 1e-9)
            assert sets.decision[image, label] == expected[kept]
    assert (sets.decision[category == "LATERAL"] == 2).all()  # no calibration there: nothing can be ruled out


def test_four_positives_by_hand() -> None:
    truth, p = np.ones((4, 1)), np.array([[0.2], [0.4], [0.6], [0.8]])
    one = np.zeros(4, int)

    def p_present(patients: np.ndarray, at: float, alpha: float = 0.1) -> tuple[float, int]:
        sets = prediction_sets(
            conformal_record(truth, p, patients, one, one), np.full((1, 1, 1), at), one[:1], alpha
        )
        return float(sets.p_present[0, 0]), int(sets.decision[0, 0])

    assert p_present(np.arange(4), 0.5) == (3 / 5, 2)
    assert p_present(np.arange(4), 0.1) == (1 / 5, 2)  # never dropped at 0.1
    assert p_present(np.arange(4), 0.4)[0] == 3 / 5  # a tie keeps the class
    assert p_present(np.array([0, 0, 1, 2]), 0.5)[0] == 2 / 4
    assert p_present(np.array([0, 0, 1, 2]), 0.1)[0] == 1 / 4
    assert p_present(np.arange(4), 0.1, alpha=0.2)[1] == 0  # 1/5 is not above 0.2


def test_doubling_every_row_of_one_patient_changes_no_p_value() -> None:
    rows = drawn(1)
    again = np.concatenate([np.arange(150), np.flatnonzero(rows[2] == 7), np.flatnonzero(rows[2] == 7)])
    p_new, category = np.random.default_rng(0).random((3, 60, 2)).round(1), np.array(["AP", "PA"] * 30)
    a, b = (
        prediction_sets(conformal_record(*(column[pick] for column in rows)), p_new, category, 0.1)
        for pick in (np.arange(150), again)
    )
    np.testing.assert_allclose(a.p_present, b.p_present, rtol=0, atol=1e-12)
    np.testing.assert_allclose(a.p_absent, b.p_absent, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(a.decision, b.decision)


def test_unknown_cells_are_as_if_they_were_not_there() -> None:
    rows = drawn(2)
    p_new, category = np.random.default_rng(0).random((3, 60, 2)), np.array(["AP", "PA"] * 30)
    whole = prediction_sets(conformal_record(*rows), p_new, category, 0.1)
    for label in range(2):
        known = ~np.isnan(rows[0][:, label])
        truth, p, patients, folds, categories = (column[known] for column in rows)
        record = conformal_record(truth[:, [label]], p[:, [label]], patients, folds, categories)
        alone = prediction_sets(record, p_new[:, :, [label]], category, 0.1)
        np.testing.assert_array_equal(whole.p_present[:, label], alone.p_present[:, 0])
        np.testing.assert_array_equal(whole.p_absent[:, label], alone.p_absent[:, 0])


def test_the_written_record_gives_the_same_bytes_as_the_rows() -> None:
    rows = drawn(3)
    record = conformal_record(*rows)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **record.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        read = record_of_arrays(dict(arrays))
    p_new, category = np.random.default_rng(0).random((3, 60, 2)), np.array(["AP", "PA", "?"] * 20)
    for a, b in zip(
        prediction_sets(record, p_new, category, 0.1),
        prediction_sets(read, p_new, category, 0.1),
        strict=True,
    ):
        assert a.tobytes() == b.tobytes()
    # The order of the rows is nothing.
    order = np.random.default_rng(4).permutation(150)
    shuffled = conformal_record(*(column[order] for column in rows))
    for name, array in record.arrays().items():
        if name != "weights":  # among tied scores the weights' order may differ: what is read are their sums
            np.testing.assert_array_equal(array, shuffled.arrays()[name])
    for a, b in zip(
        prediction_sets(record, p_new, category, 0.1),
        prediction_sets(shuffled, p_new, category, 0.1),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_patients_of_each_class_and_category() -> None:
    rows = drawn(5)
    truth, _, patients, _, categories = rows
    found = conformal_record(*rows).patients()
    for label in range(2):
        for y in (0, 1):
            for c, name in enumerate(["", "AP", "PA"]):
                expected = len(set(patients[(truth[:, label] == y) & (categories == name)]))
                assert found[label, y, c] == expected


def test_the_range_of_realised_coverage() -> None:
    low, high = realised_coverage(np.array([9, 19, 50, 100, 300, 1000]), 0.1)
    assert low.round(2).tolist() == [0.66, 0.74, 0.81, 0.84, 0.86, 0.88]
    assert high.round(2).tolist() == [1.0, 0.99, 0.97, 0.95, 0.93, 0.92]
    assert low[2] == pytest.approx(beta.ppf(0.025, 46, 5)) and high[2] == pytest.approx(
        beta.ppf(0.975, 46, 5)
    )
    assert [bound[0] for bound in realised_coverage(np.array([8]), 0.1)] == [1.0, 1.0]
    assert never_dropped(np.array([8, 9]), 0.1).tolist() == [True, False]
    assert never_dropped(np.array([18, 19]), 0.05).tolist() == [True, False]


def test_scores_of_sets_by_hand() -> None:
    truth = np.array([[1], [1], [1], [0], [0], [0], [0], [np.nan]])
    decision = np.array([[1], [0], [2], [0], [0], [1], [3], [1]])
    scores = set_scores(truth, decision)
    assert {name: share(hits)[0] for name, hits in scores._asdict().items()} == pytest.approx(
        {
            "coverage_present": 2 / 3,
            "coverage_absent": 2 / 4,
            "singletons": 5 / 7,
            "both": 1 / 7,
            "neither": 1 / 7,
            "singleton_errors": 2 / 5,
            "ppv": 1 / 2,
            "npv": 2 / 3,
        }
    )
    two = all_labels_right(
        np.array([[1, 0], [1, 1], [np.nan, 0], [np.nan, np.nan]]), np.array([[1, 2], [1, 0], [3, 0], [0, 0]])
    )
    assert two.ravel().tolist()[:3] == [1, 0, 1] and np.isnan(two[3, 0])


def test_what_is_refused() -> None:
    rows = drawn(6)
    record = conformal_record(*rows)
    with pytest.raises(ValueError, match="scores of 2 folds and 2 labels for sets of 3 and 2"):
        prediction_sets(record, np.ones((2, 4, 2)), np.array(["AP"] * 4), 0.1)
    with pytest.raises(ValueError, match="folds must be"):
        conformal_record(rows[0], rows[1], rows[2], rows[3].astype(float), rows[4])
    with pytest.raises(ValueError, match="need out-of-fold rows"):
        conformal_record(*(column[:0] for column in rows))


def simulated(rng: np.random.Generator, n_patients: int, intercept: float) -> tuple[np.ndarray, ...]:
    """(truth, scores of 3 models, patients, view): 1 to 9 correlated images, two views whose scores differ."""
    patients = np.repeat(np.arange(n_patients), rng.integers(1, 10, n_patients))
    n, effect = len(patients), rng.normal(0, 1, (2, n_patients))[:, patients]
    truth = (rng.random(n) < expit(intercept + 1.5 * effect[0])).astype(float)
    view = rng.integers(0, 2, n)
    signal = 1.6 * truth - 1.2 * view + 0.8 * effect[1] + rng.normal(0, 0.8, n)
    models = expit(signal + np.array([[0.0], [0.4], [-0.3]]) + rng.normal(0, 0.5, (3, n)))
    return truth[:, None], models[:, :, None], patients, view


def mean_coverage(n_patients: int, intercept: float, draws: int) -> dict[tuple[int, int], float]:
    """Coverage of (class, view) at alpha 0.1 per patient, over draws of calibration patients."""
    rng = np.random.default_rng(n_patients)
    found: dict[tuple[int, int], list[float]] = {(y, view): [] for y in (0, 1) for view in (0, 1)}
    for _ in range(draws):
        truth, models, patients, view = simulated(rng, n_patients, intercept)
        folds = rng.permutation(n_patients)[patients] % 3
        record = conformal_record(truth, models[folds, np.arange(len(truth))], patients, folds, view)
        truth, models, patients, view = simulated(rng, 400, intercept)
        scores = set_scores(truth, prediction_sets(record, models, view, 0.1).decision)
        for y, hits in enumerate((scores.coverage_absent, scores.coverage_present)):
            for v in (0, 1):
                found[y, v].append(float(np.nanmean(patient_shares(hits[view == v], patients[view == v]))))
    return {key: float(np.mean(values)) for key, values in found.items()}


def test_sets_cover_each_class_in_each_view() -> None:
    for coverage in mean_coverage(160, intercept=-1.8, draws=12).values():
        assert 0.88 <= coverage <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_patients", "intercept", "draws"),
    [(640, -1.8, 60), (160, -4.0, 200), (640, -5.2, 200)],  # about 20, 5 and 2 % positive
)
def test_coverage_over_many_draws(n_patients: int, intercept: float, draws: int) -> None:
    for coverage in mean_coverage(n_patients, intercept, draws).values():
        assert 0.88 <= coverage <= 0.98
