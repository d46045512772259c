"""What a trainer works on, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from couplet.images.store import ImageStore


@dataclass(frozen=True)
class FoldData:
    """One fold's images: ids (N,), positions in the store (N,), truth (N, L) of 1, 0 or NaN for unknown."""

    store: ImageStore
    train_ids: list[str]
    train_positions: np.ndarray
    train_truth: np.ndarray
    val_positions: np.ndarray
    val_truth: np.ndarray


@dataclass
class Progress:
    """Where the run stands: everything of a checkpoint that is not a tensor."""

    epoch: int = 0
    batch: int = 0
    steps: int = 0  # optimiser steps done; skipped batches do not count
    loss_sum: float = 0.0
    loss_batches: int = 0
    skipped: int = 0
    skipped_in_epoch: int = 0
    skipped_in_a_row: int = 0
    best_epoch: int = -1
    best_auc: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)
