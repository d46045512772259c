"""What a fold's weights are worth: the macro-AUC of its held-out images, by which the epoch is chosen."""

from __future__ import annotations

import math

import numpy as np

from couplet.evaluation.metrics import macro_auc
from couplet.inference.predict import predict_probabilities
from couplet.models.predictor import Predictor
from couplet.project.errors import UserError
from couplet.settings.params import Params
from couplet.training.parts import predicted_together
from couplet.training.processes import Processes
from couplet.training.state import FoldData, Progress

REMEDY = "lower optimizer.lr or optimizer.max_grad_norm, or set train.precision to float32"


def predicted(
    predictor: Predictor,
    params: Params,
    data: FoldData,
    positions: np.ndarray,
    precision: str,
    processes: Processes,
    description: str,
) -> np.ndarray:
    """Probabilities (n, L) of the images at `positions` in the store by the weights now, without TTA."""
    # Not inference.batch_size: kernels add in another order for another size, so that the last digits, and
    # with them the best epoch, would follow from it, and a fold would have to be trained again for it.
    batch_size = params.train.batch_size
    return predicted_together(
        lambda positions: predict_probabilities(
            predictor,
            data.store,
            positions,
            size=params.image.size,
            batch_size=batch_size,
            size_setting="train.batch_size",
            tta=False,
            view=params.inference.view,
            metadata=data.metadata_of(positions),
            precision=precision,
            description=description,
        ),
        positions,
        batch_size,
        processes,
    )


def validation_auc(probabilities: np.ndarray, data: FoldData, who: str, state: Progress) -> float:
    """Macro-AUC of the validation images.

    Raises:
        UserError: a probability is not finite, or no label has both classes.
    """
    broken = int((~np.isfinite(probabilities)).sum())
    if broken:
        raise UserError(
            f"{who}: after epoch {state.number} {broken} of {probabilities.size} validation "
            f"probabilities are not finite ({state.skipped} batches were skipped): the training "
            f"diverged, {REMEDY}"
        )
    auc, _ = macro_auc(data.val_truth, probabilities)
    if math.isnan(auc):
        raise UserError(
            f"{who}: no label has both positives and negatives among the {len(data.val_truth)} "
            "validation images, so no epoch can be chosen: use fewer split.folds or more data"
        )
    return auc
