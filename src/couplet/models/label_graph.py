"""The label graph that graph heads start from: which labels occur together in the training fold."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def cooccurrence_adjacency(truth: ArrayLike, threshold: float = 0.4, strength: float = 0.25) -> Tensor:
    """Start of the static graph from the TRAINING fold's labels (ML-GCN's re-weighted graph, Chen 2019).

    P_ij = M_ij / N_i: of the N_i images with label i, the share that also has label j. Only pairs of
    different labels count, as in ML-GCN's released counts; the self-loop is the identity that is added:
    A' = strength * [P >= threshold] / (column sums) + I, A_s = D^-1/2 A'^T D^-1/2 with D = diag(row sums of
    A'). Unknown cells (NaN) take part in neither count; a label that never occurs keeps its self-loop alone.

    Args:
        truth: (N, C) with 0, 1 or NaN.

    Returns:
        A_s, float32 (C, C).

    >>> cooccurrence_adjacency([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1]])
    tensor([[0.8889, 0.0000, 0.0000],
            [0.1179, 1.0000, 0.1179],
            [0.0000, 0.0000, 0.8889]])
    """
    table = np.asarray(truth, dtype=np.float64)
    positive, known = (table == 1).astype(np.float64), (~np.isnan(table)).astype(np.float64)
    together, occurring = positive.T @ positive, positive.T @ known
    shares = np.divide(together, occurring, out=np.zeros_like(together), where=occurring > 0)
    edges = (shares >= threshold).astype(np.float64)
    np.fill_diagonal(edges, 0.0)
    adjacency = strength * edges / np.maximum(edges.sum(axis=0), 1.0) + np.eye(len(edges))
    scale = adjacency.sum(axis=1) ** -0.5
    return torch.tensor(scale[:, None] * adjacency.T * scale[None, :], dtype=torch.float32)
