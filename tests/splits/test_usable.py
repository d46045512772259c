"""What training would refuse after hours, found when the folds are dealt."""

from __future__ import annotations

import numpy as np
import pytest

from couplet.evaluation.metrics import macro_auc
from couplet.splits.usable import one_valued, refuse_untrainable
from tests.support.errors import refused

NAN = np.nan
LABELS = ["Edema", "Mass", "Nodule"]


def test_a_fold_without_a_label_of_both_classes_is_refused_before_any_training() -> None:
    fold = np.array(["0", "0", "1", "1", "test", "test"], dtype=object)
    truth = np.array([[1, 0, 1], [0, NAN, 1], [1, 0, NAN], [1, 0, 0], [0, 1, 0], [1, 0, 1]], dtype=float)
    assert refused(refuse_untrainable, truth, fold, [0, 1], 2) == (
        "fold 1: no label has both positives and negatives among its 2 images, so no epoch of its training could be "
        "chosen: use fewer split.folds or bring more data"
    )
    truth[2, 1] = 1
    refuse_untrainable(truth, fold, [0, 1], 2)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_refused_exactly_where_the_validation_auc_is_undefined(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 1, NAN], size=(8, 3), p=[0.3, 0.1, 0.6])
    fold = rng.permutation(np.array(list("00011222"), dtype=object))
    undefined = [
        k
        for k in range(3)
        if np.isnan(macro_auc(truth[fold == str(k)], rng.random((8, 3))[fold == str(k)])[0])
    ]
    if undefined:
        assert refused(refuse_untrainable, truth, fold, [0, 1, 2], 2).startswith(f"fold {undefined[0]}: ")
    else:
        refuse_untrainable(truth, fold, [0, 1, 2], 2)


def test_a_fold_that_trains_on_less_than_a_batch_is_refused() -> None:
    """Fold 0 trains on 3 images, fold 1 on 2: the first would train for hours, the second could not begin."""
    truth = np.array([[0], [1], [0], [1], [0], [1]], dtype=float)
    fold = np.array(["0", "0", "1", "1", "1", "test"], dtype=object)
    refuse_untrainable(truth, fold, [0, 1], 2)
    assert refused(refuse_untrainable, truth, fold, [0, 1], 3) == (
        "fold 1 trains on 2 images, fewer than train.batch_size = 3: lower train.batch_size"
    )
    # With split.holdout the images named `train` are trained on too.
    refuse_untrainable(truth, np.array(["0", "0", "train", "train", "train", "test"], dtype=object), [0], 3)


def test_labels_of_one_value_are_named_with_what_they_lack() -> None:
    truth = np.array([[1, 0, NAN, 1], [0, 0, NAN, NAN]], dtype=float)
    assert one_valued(truth, ["Edema", "Mass", "Nodule", "Support"]) == [
        "Mass (no positive)",
        "Nodule (never known)",
        "Support (no negative)",
    ]
    assert one_valued(np.array([[0.0, 1], [1, 0]]), ["a", "b"]) == []
