"""What the steps of a fold's epochs are made of: whose turn an image is, its view, and what the predictor is told.

All of it follows from (seed, repeat, fold, epoch, batch or image), and from nothing that ran before.
"""

from __future__ import annotations

import numpy as np
import torch

from couplet.images.loading.draws import (
    boosted,
    dropout_seed,
    epoch_order,
    image_keys,
    taught,
    turn_keys,
    uniforms,
)
from couplet.images.loading.views import N_DRAWS, training_view
from couplet.models.predictor import Predictor, normalisation
from couplet.project.errors import UserError
from couplet.settings.params import Params
from couplet.training.state import FoldData
from couplet.training.step import Batch


class Batches:
    """The batches of one fold, for the level that the predictor is to train now.

    An epoch is made of turns: row i of the fold has turn i, unless images are drawn by weight. No two levels' epochs
    have the same draws.

    Attributes:
        per_epoch: how many there are; the last incomplete one is dropped.
        weights: (N,) by which images are drawn for an epoch; None: each comes once.
        rows: (N,) of the fold, by turn of the epoch that `order` was asked for last.

    Raises:
        UserError: there are fewer images than a batch has.
    """

    def __init__(self, predictor: Predictor, params: Params, fold: int, data: FoldData) -> None:
        self.predictor, self.params, self.fold, self.data = predictor, params, fold, data
        self.device = next(predictor.parameters()).device
        self.mean_std = normalisation(predictor.backbone)
        self.first_epoch = predictor.level * params.schedule.epochs
        self.keys = image_keys(data.train_ids)
        self.weights: np.ndarray | None = None
        self.rows, self._keys = np.arange(len(self.keys)), self.keys
        self.per_epoch = len(data.train_ids) // params.train.batch_size
        if self.per_epoch == 0:
            raise UserError(
                f"fold {fold} trains on {len(data.train_ids)} images, fewer than train.batch_size = "
                f"{params.train.batch_size}: lower train.batch_size"
            )

    def order(self, epoch: int) -> np.ndarray:
        """The turns of an epoch (from 0), batch after batch."""
        params, repeat = self.params, self.params.train.repeat
        number = self.first_epoch + epoch
        if self.weights is not None:
            one = np.zeros(1, dtype=np.uint64)
            u = uniforms(one, params.seed, self.fold, number, 1, repeat, stream="boost").item()
            self.rows = boosted(self.weights, u)
            self._keys = turn_keys(self.keys, self.rows)
        order = epoch_order(len(self.keys), params.seed, self.fold, number, repeat)
        return order[: self.per_epoch * params.train.batch_size]

    def batch(
        self,
        stored: torch.Tensor,
        turns: np.ndarray,
        epoch: int,
        number: int,
        part: int | None = None,
        weight: float = 1.0,
    ) -> Batch:
        """A batch, or a part of one: an epoch's views of `stored` images (B, C, S', S'), which have these `turns`.

        Args:
            stored, turns: see above.
            epoch, number: of the batch, from 0.
            part: of a step made of parts, the number of this one.
            weight: of its loss.
        """
        params, rows, keys = self.params, self.rows[turns], self._keys[turns]
        repeat, drawn = params.train.repeat, self.first_epoch + epoch
        draws = uniforms(keys, params.seed, self.fold, drawn, N_DRAWS, repeat)
        images = training_view(stored, draws, params.image.size, params.augment, *self.mean_std)
        truth = torch.from_numpy(self.data.train_truth[rows]).to(self.device, non_blocking=True)
        seed = dropout_seed(params.seed, self.fold, drawn, number, repeat, part)
        metadata = self.data.metadata_of(self.data.train_positions[rows])
        told = None if metadata is None else torch.from_numpy(metadata).to(self.device, non_blocking=True)
        return Batch(images, truth, rows, epoch, number, seed, weight, self._known(rows, keys, drawn), told)

    def _known(self, rows: np.ndarray, keys: np.ndarray, epoch: int) -> torch.Tensor | None:
        """The labels that the predictor is told in this epoch: all that are known of the taught images (B, L)."""
        share, params = self.predictor.taught_share, self.params
        if not share:
            return None
        told = taught(keys, params.seed, self.fold, epoch, share, params.train.repeat)
        known = np.where(told[:, None], self.data.train_truth[rows], np.float32("nan"))
        return torch.from_numpy(known).to(self.device, non_blocking=True)
