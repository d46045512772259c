from __future__ import annotations

import json
import time
import warnings

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from couplet.evaluation.metrics import (
    all_scores,
    auc_per_label,
    average_precision_per_label,
    macro_auc,
    multilabel_scores,
)

Arrays = tuple[np.ndarray, np.ndarray]


def predictions(seed: int, n: int = 400, n_labels: int = 6, decimals: int | None = None) -> Arrays:
    rng = np.random.default_rng(seed)
    y_true = (rng.random((n, n_labels)) < np.linspace(0.05, 0.7, n_labels)).astype(float)
    y_prob = 1 / (1 + np.exp(-rng.normal(size=(n, n_labels)) - y_true))
    return y_true, y_prob if decimals is None else y_prob.round(decimals)


@pytest.mark.parametrize("decimals", [None, 6, 2, 1, 0])
def test_auc_and_average_precision_equal_scikit_learn(decimals: int | None) -> None:
    for seed in range(5):
        y_true, y_prob = predictions(seed, decimals=decimals)
        columns = list(zip(y_true.T, y_prob.T, strict=True))
        auc = [roc_auc_score(truth, score) for truth, score in columns]
        precision = [average_precision_score(truth, score) for truth, score in columns]
        np.testing.assert_allclose(auc_per_label(y_true, y_prob), auc, rtol=0, atol=1e-12)
        np.testing.assert_allclose(average_precision_per_label(y_true, y_prob), precision, rtol=0, atol=1e-12)
        assert macro_auc(y_true, y_prob) == (pytest.approx(np.mean(auc), abs=1e-12), [])


@pytest.mark.parametrize(
    "change",
    [
        lambda score: np.log(score / (1 - score)),  # logits of either sign
        lambda score: score.astype(np.float32),
        lambda score: score - score[0, 0],  # with an exact 0
        lambda score: np.where(score > 0.5, 0.0, -0.0),  # equal, whatever their bits
        lambda score: np.where(score > 0.6, score * 1e300, -score * 1e-300),
        lambda score: np.where(score > 0.5, -5e-324, -1e308),
        lambda score: (score * 100).astype(int) - 50,
        lambda score: -(score**9),
    ],
)
def test_scores_of_any_sign_size_and_type(change: object) -> None:
    y_true, y_prob = predictions(3)
    scores = change(y_prob)  # type: ignore[operator]
    auc = [roc_auc_score(truth, score) for truth, score in zip(y_true.T, scores.T, strict=True)]
    np.testing.assert_allclose(auc_per_label(y_true, scores), auc, rtol=0, atol=1e-12)


def test_auc_by_hand() -> None:
    # One positive at 0.4: of the negatives 0.1, 0.4, 0.8 it beats one and ties with one.
    assert auc_per_label(np.array([[1], [0], [0], [0]]), np.array([[0.4], [0.1], [0.4], [0.8]]))[0] == 0.5
    assert auc_per_label(np.array([[1], [0]]), np.array([[2.0], [1.0]]))[0] == 1
    assert auc_per_label(np.array([[1], [0]]), np.array([[1.0], [1.0]]))[0] == 0.5


def test_average_precision_by_hand() -> None:
    # Ranked + - + -, and the same with the middle two tied: (1 + 2/3) / 2 either way round.
    y_true = np.array([[1], [0], [1], [0]])
    for scores in ([0.9, 0.8, 0.3, 0.2], [0.9, 0.5, 0.5, 0.2]):
        value = average_precision_per_label(y_true, np.array(scores)[:, None])[0]
        assert value == pytest.approx((1 + 2 / 3) / 2)


def test_unknown_rows_are_as_if_they_were_not_there() -> None:
    y_true, y_prob = predictions(7, decimals=2)
    unknown = np.random.default_rng(70).random(y_true.shape) < 0.3
    masked = np.where(unknown, np.nan, y_true)
    for function, reference in (
        (auc_per_label, roc_auc_score),
        (average_precision_per_label, average_precision_score),
    ):
        expected = [reference(y_true[~u, i], y_prob[~u, i]) for i, u in enumerate(unknown.T)]
        np.testing.assert_allclose(function(masked, y_prob), expected, rtol=0, atol=1e-12)
    noise = np.where(unknown, np.random.default_rng(8).random(y_true.shape), y_prob)
    labels = list("abcdef")
    assert all_scores(masked, noise, labels) == all_scores(masked, y_prob, labels)


def test_labels_with_one_class() -> None:
    y_true, y_prob = predictions(1)
    y_true[:, 1], y_true[:, 4] = 0, 1
    y_true[:, 2] = np.nan
    auc = auc_per_label(y_true, y_prob)
    assert np.flatnonzero(np.isnan(auc)).tolist() == [1, 2, 4]
    value, skipped = macro_auc(y_true, y_prob)
    assert skipped == [1, 2, 4]
    assert value == pytest.approx(np.mean([roc_auc_score(y_true[:, i], y_prob[:, i]) for i in (0, 3, 5)]))
    precision = average_precision_per_label(y_true, y_prob)
    # All positive: nothing can be ranked wrongly, so an average precision of 1 would say nothing of the model.
    assert np.flatnonzero(np.isnan(precision)).tolist() == [1, 2, 4]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(macro_auc(np.ones((3, 2)), np.ones((3, 2)))[0])
        assert np.isnan(macro_auc(np.empty((0, 2)), np.empty((0, 2)))[0])


def test_labels_with_one_class_are_in_no_mean_over_labels() -> None:
    """Columns 6 to 8: known to be positive only, negative only, never known. The six others decide every mean."""
    y_true, y_prob = predictions(5)
    added = np.column_stack([np.ones(400), np.zeros(400), np.full(400, np.nan)])
    added[::3, 0] = np.nan  # its known cells are all positive, and most are predicted
    wide_true = np.column_stack([y_true, added])
    wide_prob = np.column_stack([y_prob, np.linspace(0.2, 0.99, 400), y_prob[:, :2]])
    few, many = (
        all_scores(y_true, y_prob, list("abcdef")),
        all_scores(wide_true, wide_prob, list("abcdefghi")),
    )
    assert many["labels_skipped"] == ["g", "h", "i"]
    means = ("auc_macro", "map", "cp", "cr", "cf1")
    assert {name: many[name] for name in means} == {name: few[name] for name in means}
    columns = list(zip(y_true.T, y_prob.T, strict=True))
    assert many["map"] == round(np.mean([average_precision_score(*column) for column in columns]), 4)
    assert many["cp"] == round(precision_score(y_true, y_prob >= 0.5, average="macro"), 4)
    assert many["cr"] == round(recall_score(y_true, y_prob >= 0.5, average="macro"), 4)


def test_overall_scores_count_every_known_cell() -> None:
    """OP, OR and OF1 are no means over labels: a false alarm is one, also of a label that is never there."""
    y_true = np.array([[1, 0, 1], [0, 0, 1], [1, 0, np.nan]])
    y_prob = np.array([[0.9, 0.8, 0.9], [0.6, 0.1, 0.3], [0.2, 0.7, 0.9]])
    scores = multilabel_scores(y_true, y_prob)
    # Known and predicted: 5 cells, 2 of them right; 4 are true. Label 0 alone has both classes: 1 of 2, and 1 of 2.
    assert scores == pytest.approx(
        {"cp": 1 / 2, "cr": 1 / 2, "cf1": 1 / 2, "op": 2 / 5, "or": 2 / 4, "of1": 4 / 9}
    )
    # No label has both classes, but there are positives to find: means over no label, and overall scores.
    alone = multilabel_scores(np.ones((2, 1)), np.array([[0.9], [0.1]]))
    assert [alone[name] for name in ("op", "or")] == [1, 0.5]
    assert all(np.isnan(alone[name]) for name in ("cp", "cr", "cf1"))
    assert all_scores(np.ones((2, 1)), np.array([[0.9], [0.1]]), ["a"])["map"] is None


def test_threshold_scores_against_scikit_learn() -> None:
    for seed in range(5):
        y_true, y_prob = predictions(seed)
        predicted = y_prob >= 0.5
        scores = multilabel_scores(y_true, y_prob)
        assert scores["cp"] == pytest.approx(precision_score(y_true, predicted, average="macro"))
        assert scores["cr"] == pytest.approx(recall_score(y_true, predicted, average="macro"))
        assert scores["op"] == pytest.approx(precision_score(y_true, predicted, average="micro"))
        assert scores["or"] == pytest.approx(recall_score(y_true, predicted, average="micro"))
        assert scores["of1"] == pytest.approx(f1_score(y_true, predicted, average="micro"))
        cf1 = 2 * scores["cp"] * scores["cr"] / (scores["cp"] + scores["cr"])
        assert scores["cf1"] == pytest.approx(cf1)
        assert scores["cf1"] != pytest.approx(f1_score(y_true, predicted, average="macro"), abs=1e-4)


def test_threshold_scores_by_hand() -> None:
    y_true = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0]])
    y_prob = np.array([[0.5, 0.4, 0.9, 0.6], [0.8, 0.7, 0.6, 0.1], [0.2, 0.3, 0.1, 0.2]])
    # N_c 2 0 1 0, N_p 2 1 2 1, N_g 2 2 1 0; class 1 has precision 0 of 1, class 3 no positives: not in CP and CR.
    assert multilabel_scores(y_true, y_prob) == pytest.approx(
        {
            "cp": (1 + 0 + 1 / 2) / 3,
            "cr": (1 + 0 + 1) / 3,
            "cf1": 4 / 7,
            "op": 3 / 6,
            "or": 3 / 5,
            "of1": 6 / 11,
        }
    )
    # A class that is never predicted counts as precision 0.
    both = np.array([[1, 1], [0, 0]])
    never = multilabel_scores(both, np.array([[0.9, 0.1], [0.1, 0.1]]))
    assert (never["cp"], never["cr"], never["op"], never["or"]) == (0.5, 0.5, 1, 0.5)
    nothing = multilabel_scores(both, np.full((2, 2), 0.1))
    assert set(nothing.values()) == {0}
    assert all(np.isnan(value) for value in multilabel_scores(np.zeros((2, 2)), np.ones((2, 2))).values())


def test_another_threshold() -> None:
    y_true, y_prob = predictions(2)
    expected = recall_score(y_true, y_prob >= 0.3, average="micro")
    assert multilabel_scores(y_true, y_prob, threshold=0.3)["or"] == pytest.approx(expected)


def test_top_three_needs_the_threshold_too() -> None:
    y_true = np.array([[1, 1, 1, 1, 0], [0, 0, 0, 1, 1]])
    y_prob = np.array([[0.6, 0.9, 0.8, 0.7, 0.1], [0.1, 0.2, 0.3, 0.9, 0.4]])
    # Image 0 keeps labels 1, 2, 3; image 1 only label 3: 0.4 and 0.3 are in its top three but below 0.5.
    scores = multilabel_scores(y_true, y_prob, top_k=3)
    # Label 3 is positive in both, so CP and CR are those of the other four: 0 of 0, 1 of 1, 1 of 1, 0 of 0.
    assert scores == pytest.approx({"cp": 2 / 4, "cr": 2 / 4, "cf1": 2 / 4, "op": 1, "or": 4 / 6, "of1": 0.8})
    assert multilabel_scores(y_true, y_prob, top_k=9) == multilabel_scores(y_true, y_prob)


def test_ties_in_the_top_three_go_to_the_lower_index() -> None:
    y_prob = np.array([[0.7, 0.9, 0.7, 0.7, 0.7]])
    for label, found in enumerate([1, 1, 1, 0, 0]):
        y_true = np.eye(5)[[label]]
        assert multilabel_scores(y_true, y_prob, top_k=3)["or"] == found


def test_an_unknown_label_takes_no_place_in_the_top_three() -> None:
    y_true = np.array([[np.nan, 0, 0, 1], [0, 1, 1, 0]])
    y_prob = np.array([[0.9, 0.8, 0.7, 0.6], [0.1, 0.1, 0.1, 0.1]])
    assert multilabel_scores(y_true, y_prob, top_k=3) == multilabel_scores(
        y_true[:, 1:], y_prob[:, 1:], top_k=3
    )
    assert multilabel_scores(y_true, y_prob, top_k=3)["or"] == 1 / 3


def test_all_scores_is_what_the_fold_writes() -> None:
    y_true, y_prob = predictions(4)
    y_true[:, 2] = 0
    labels = ["a", "b", "c", "d", "e", "f"]
    scores = all_scores(y_true, y_prob, labels)
    assert list(scores) == [
        *("auc_macro", "map", "cp", "cr", "cf1", "op", "or", "of1", "top3", "n_images", "labels_skipped")
    ]
    assert scores["labels_skipped"] == ["c"]
    assert scores["n_images"] == 400
    assert scores["auc_macro"] == round(macro_auc(y_true, y_prob)[0], 4)
    assert scores["map"] == round(np.nanmean(average_precision_per_label(y_true, y_prob)), 4)
    assert scores["cp"] == round(multilabel_scores(y_true, y_prob)["cp"], 4)
    assert scores["top3"] == {
        name: round(value, 4) for name, value in multilabel_scores(y_true, y_prob, top_k=3).items()
    }
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_all_scores_says_null_where_nothing_can_be_computed() -> None:
    scores = all_scores(np.zeros((4, 2)), np.full((4, 2), 0.9), ["a", "b"])
    assert scores.pop("labels_skipped") == ["a", "b"]
    assert scores.pop("n_images") == 4
    top3 = scores.pop("top3")
    assert {*scores.values(), *top3.values()} == {None}


def test_mistakes_are_named() -> None:
    y_true, y_prob = predictions(0, n=10)
    broken = y_prob.copy()
    broken[0, 0], broken[3, 2] = np.nan, np.inf
    for function in (auc_per_label, macro_auc, average_precision_per_label, multilabel_scores):
        with pytest.raises(ValueError, match="2 of 60 scores are not finite"):
            function(y_true, broken)
        with pytest.raises(ValueError, match="1 of 60 cells of y_true are not 0, 1 or NaN"):
            function(np.where(np.arange(60).reshape(10, 6) == 7, -1, y_true), y_prob)
        with pytest.raises(ValueError, match=r"\(10, 6\) and \(9, 6\)"):
            function(y_true, y_prob[:9])
    with pytest.raises(ValueError, match="2 of 60 scores"):
        all_scores(y_true, broken, list("abcdef"))
    with pytest.raises(ValueError, match="2 label names for 6 columns"):
        all_scores(y_true, y_prob, ["a", "b"])
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        multilabel_scores(y_true, y_prob, top_k=0)


def test_much_faster_than_the_scikit_learn_loop() -> None:
    # A bound with room for a busy machine; on a quiet one it is 15 times.
    y_true, y_prob = predictions(0, n=48_000, n_labels=14)

    def seconds(function: object) -> float:
        start = time.process_time()
        function()  # type: ignore[operator]
        return time.process_time() - start

    ours = min(seconds(lambda: auc_per_label(y_true, y_prob)) for _ in range(5))
    loop = min(
        seconds(lambda: [roc_auc_score(t, s) for t, s in zip(y_true.T, y_prob.T, strict=True)])
        for _ in range(2)
    )
    assert loop > 3 * ours
