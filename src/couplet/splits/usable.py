"""What training would only find out after hours, said when the folds are dealt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from couplet.project.errors import UserError

SHOWN = 20  # labels in a sentence


def refuse_untrainable(truth: np.ndarray, fold: np.ndarray, folds: Sequence[int], batch_size: int) -> None:
    """Raise a UserError if one of the folds could not be trained, whatever the others give.

    Args:
        truth: (N, L) of 1, 0 or NaN; of labels that are in no mean (inference.unscored) NaN.
        fold: (N,) text: a fold's number, `test`, or `train` (with split.holdout).
        folds: split.folds.
        batch_size: train.batch_size; a last short batch is dropped, so a fold needs one whole batch.

    Raises:
        UserError: no label of a fold has both classes, so that its validation macro-AUC is undefined after every
            epoch; or a fold trains on less than a batch.
    """
    for k in folds:
        held_out = fold == str(k)
        known = truth[held_out]
        if not ((known == 1).any(axis=0) & (known == 0).any(axis=0)).any():
            raise UserError(
                f"fold {k}: no label has both positives and negatives among its {len(known)} images, so no epoch of "
                "its training could be chosen: use fewer split.folds or bring more data"
            )
        n_train = int((~held_out & (fold != "test")).sum())
        if n_train < batch_size:
            raise UserError(
                f"fold {k} trains on {n_train} images, fewer than train.batch_size = {batch_size}: "
                "lower train.batch_size"
            )


def one_valued_line(truth: np.ndarray, labels: Sequence[str]) -> str:
    """The sentence that names `one_valued` labels, empty if there are none.

    >>> one_valued_line(np.array([[1.0, 0.0], [0.0, 0.0]]), ["Edema", "Mass"])
    'labels of one value only, which nothing can be learned of: Mass (no positive)'
    """
    idle = one_valued(truth, labels)
    if not idle:
        return ""
    more = f" and {len(idle) - SHOWN} more" if len(idle) > SHOWN else ""
    return f"labels of one value only, which nothing can be learned of: {', '.join(idle[:SHOWN])}{more}"


def one_valued(truth: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Labels that teach nothing, because (N, L) `truth` has one value of them at most, each with what it lacks.

    >>> one_valued(np.array([[1.0, 0.0], [0.0, 0.0]]), ["Edema", "Mass"])
    ['Mass (no positive)']
    """
    positive, negative = (truth == 1).any(axis=0), (truth == 0).any(axis=0)
    lacks = {(False, True): "no positive", (True, False): "no negative", (False, False): "never known"}
    return [
        f"{label} ({lacks[bool(p), bool(n)]})"
        for label, p, n in zip(labels, positive, negative, strict=True)
        if not (p and n)
    ]
