from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from couplet.evaluation.suspicious import evidence_against, suspicious
from tests.support.predictions import drawn_predictions as drawn


def test_evidence_by_hand() -> None:
    # Prevalence 1/4: a positive of q = 1/10 has odds three times lower, a negative of q = 1/2 three times higher.
    truth, q = np.array([1, 0, 0, 0, np.nan]), np.array([0.1, 0.5, 0.25, 0.0, 0.9])
    found = evidence_against(truth, q)
    assert found[:3] == pytest.approx([np.log(3), np.log(3), 0.0])
    assert found[3] == pytest.approx(-13.8 - logit(0.25)) and np.isnan(found[4])


def test_the_list_is_ranked_by_evidence_and_then_by_name() -> None:
    truth, q, patients = drawn(0)
    ids = np.array([f"image {i:03}" for i in np.random.default_rng(0).permutation(300)])
    found = suspicious(truth, q, ids, np.array([f"{p}_1" for p in patients]))
    for label in range(3):
        rows = found.row[found.label == label]
        evidence = evidence_against(truth[:, label], q[:, label])
        cells = sorted((-evidence[i], ids[i], i) for i in range(300) if not np.isnan(evidence[i]))
        assert rows.tolist() == [i for _, _, i in cells[:50]]
        assert found.rank[found.label == label].tolist() == list(range(1, 51))
        np.testing.assert_array_equal(found.given[found.label == label], truth[rows, label])
        np.testing.assert_array_equal(found.q[found.label == label], q[rows, label])
    for row, label, given, other in zip(
        found.row, found.label, found.given, found.other_in_study, strict=True
    ):
        alike = patients == patients[row]
        assert other == (truth[alike, label] == 1 - given).any()


def test_the_order_of_the_rows_does_not_matter() -> None:
    truth, q, patients = drawn(1)
    ids, order = np.array([f"{i:03}" for i in range(300)]), np.random.default_rng(0).permutation(300)
    a = suspicious(truth, q, ids, patients.astype(str))
    b = suspicious(truth[order], q[order], ids[order], patients[order].astype(str))
    np.testing.assert_array_equal(ids[a.row], ids[order][b.row])
    np.testing.assert_array_equal(a.evidence, b.evidence)


def test_no_study_and_one_class() -> None:
    truth, q = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.1, 0.1], [0.9, 0.9]])
    found = suspicious(truth, q, np.array(["a", "b"]), np.array(["", ""]))
    assert not found.other_in_study.any()
    assert found.label.tolist() == [0, 0]  # the second label has one class only
    none = suspicious(truth[:, 1:], q[:, 1:], np.array(["a", "b"]), np.array(["", ""]))
    assert all(len(column) == 0 for column in none)


def test_flipped_labels_come_first() -> None:
    # Calibrated probabilities, 8 % of positives and 2 % of negatives flipped: 4 % of the cells.
    rng = np.random.default_rng(2)
    q = expit(rng.normal([-3.5, -1.0, 0.5], 2.5, (4000, 3)))
    right = (rng.random(q.shape) < q).astype(float)
    flipped = rng.random(q.shape) < np.where(right == 1, 0.08, 0.02)
    given = np.where(flipped, 1 - right, right)
    evidence = np.stack([evidence_against(y, s) for y, s in zip(given.T, q.T, strict=True)], axis=1)
    order = np.argsort(-evidence.ravel(), kind="stable")
    assert flipped.mean() == pytest.approx(0.04, abs=0.002)
    assert flipped.ravel()[order[:100]].mean() > 0.75
    assert flipped.ravel()[order[:300]].mean() > 0.5
