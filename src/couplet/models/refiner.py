"""The first paper's idea: a learned, sparse, directed graph between labels that corrects the logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LabelGraphRefiner(nn.Module):
    """z' = z + alpha * sigmoid(z) @ A, with A's diagonal masked out ("Learning Sparse Label Couplings").

    Rows of A are sources, columns are targets: A[i, j] says how much the presence of label i moves the logit
    of label j. A starts at zero, so an untrained refiner is the identity. The mask is applied in the forward
    pass: the diagonal has neither effect nor gradient.

    Args:
        n_labels: L.
        alpha: fixed strength of the coupling.
        sparsity: lambda, the weight of the sum of |A| in the loss.

    >>> refiner = LabelGraphRefiner(n_labels=2, alpha=0.3)
    >>> with torch.no_grad():
    ...     _ = refiner.A.copy_(torch.tensor([[9.0, 2.0], [0.0, 9.0]]))  # the diagonal is ignored
    >>> refiner(torch.tensor([[0.0, -1.0]]))  # label 0 at p = 1/2 adds 0.3 * 0.5 * 2 to label 1
    tensor([[ 0.0000, -0.7000]], grad_fn=<AddBackward0>)
    >>> refiner.l1()
    tensor(2., grad_fn=<SumBackward0>)
    """

    mask: Tensor

    def __init__(self, n_labels: int, alpha: float, sparsity: float = 0.0) -> None:
        super().__init__()
        self.n_labels = n_labels
        self.alpha = alpha
        self.sparsity = sparsity
        self.A = nn.Parameter(torch.zeros(n_labels, n_labels))
        self.register_buffer("mask", 1 - torch.eye(n_labels), persistent=False)

    @property
    def couplings(self) -> Tensor:
        """Masked A (L, L): rows sources, columns targets, zero diagonal."""
        return self.A * self.mask

    def l1(self) -> Tensor:
        """Sum of |A| over the off-diagonal entries (a scalar)."""
        return self.couplings.abs().sum()

    def loss_terms(self) -> dict[str, Tensor]:
        """The L1 term that pulls A to zero."""
        return {"couplings": self.sparsity * self.l1()}

    def mean_abs_coupling(self) -> float | None:
        """Mean of |A| over the off-diagonal entries; None where there is none (one label)."""
        cells = self.n_labels * (self.n_labels - 1)
        return self.l1().item() / cells if cells else None

    def forward(self, logits: Tensor) -> Tensor:
        """Refine logits (B, L). Computed in A's own type, float32, even under autocast."""
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.to(self.A.dtype)
            return logits + self.alpha * (torch.sigmoid(logits) @ self.couplings)
