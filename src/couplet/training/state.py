"""What a trainer works on, and where it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from couplet.images.loading.store import ImageStore
from couplet.training.step import Outcome


@dataclass(frozen=True)
class FoldData:
    """One fold's images: ids (N,), positions in the store (N,), truth (N, L) of 1, 0 or NaN for unknown.

    `metadata` (P, m) is what a head reads beside the features, by position in the store; None: nothing.
    """

    store: ImageStore
    train_ids: list[str]
    train_positions: np.ndarray
    train_truth: np.ndarray
    val_positions: np.ndarray
    val_truth: np.ndarray
    metadata: np.ndarray | None = None

    def metadata_of(self, positions: np.ndarray) -> np.ndarray | None:
        """(n, m) of the images at these positions; None: nothing is read."""
        return None if self.metadata is None else self.metadata[positions]


@dataclass
class Progress:
    """Where the run stands: everything of a checkpoint that is not a tensor."""

    first_epoch: int = 0  # epochs that the levels before may have
    epoch: int = 0  # of the level that is trained
    batch: int = 0
    steps: int = 0  # optimiser steps done; skipped and overflowed batches do not count
    loss_sum: float = 0.0
    loss_batches: int = 0
    skipped: int = 0
    skipped_in_epoch: int = 0
    skipped_in_a_row: int = 0
    overflowed: int = (
        0  # batches too large for fp16's scale, which came down: said apart from the skipped ones
    )
    overflowed_in_epoch: int = 0
    best_epoch: int = -1
    best_auc: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """The epoch's number for people, from 1 and through all levels: no two levels have the same."""
        return self.first_epoch + self.epoch + 1

    @property
    def lost(self) -> int:
        """Batches that ended in no update."""
        return self.skipped + self.overflowed

    @property
    def overflows(self) -> str:
        """Words for an error that counts `lost` batches: which of them were fp16's."""
        return f" ({self.overflowed} overflowed fp16)" if self.overflowed else ""

    @property
    def lost_in_epoch(self) -> str:
        """Words for an epoch's line: its batches that ended in no update; nothing if there were none."""
        counts = {"skipped": self.skipped_in_epoch, "overflowed fp16": self.overflowed_in_epoch}
        return "".join(f", {n} batches {what}" for what, n in counts.items() if n)

    def count(self, outcome: Outcome, precision: str) -> None:
        """Take in what became of a batch that was computed in this precision."""
        if outcome.finite:
            self.steps += 1
            self.loss_sum += outcome.loss
            self.loss_batches += 1
            self.skipped_in_a_row = 0
        elif precision == "fp16" and math.isfinite(outcome.loss) and outcome.scale > 1:
            # fp16 begins with a scale that is too large, on purpose: that says nothing about the training.
            self.overflowed += 1
            self.overflowed_in_epoch += 1
        else:
            self.skipped += 1
            self.skipped_in_epoch += 1
            self.skipped_in_a_row += 1

    def begin_epoch(self) -> None:
        """Set to 0 what is counted per epoch."""
        self.loss_sum, self.loss_batches = 0.0, 0
        self.skipped_in_epoch = self.overflowed_in_epoch = 0
