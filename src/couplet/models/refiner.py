"""The first paper's idea: a learned, sparse, directed graph between labels that corrects the logits."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from couplet.models.gate import SourceGate
from couplet.settings.params import LossParams, RefinerParams
from couplet.training.loss import MultiLabelLoss, build_loss

STEEPEST_WITHIN = 30.0  # logits between which the slope of a message is looked for


class LabelGraphRefiner(nn.Module):
    """z' = z + alpha * m(z) @ A, with A's diagonal masked out ("Learning Sparse Label Couplings": m = sigmoid).

    Rows of A are sources, columns are targets: A[i, j] is what the full presence of label i adds to the logit of
    label j, times alpha. A starts at zero, so an untrained refiner is the identity. The mask is applied in the
    forward pass: the diagonal has neither effect nor gradient.

    All that follows is our own reading; without it the refiner is the paper's to the bit.

    Several steps: z_0 = z, z_t+1 = z_0 + alpha m(z_t) A, so that a label also hears what its neighbours have heard.
    Known labels (B, L), NaN where a label is not known, take the place of their messages. An image with a known label
    takes one step only: in a second one a third label would hand a target its own truth back.
    A gate, from the image's features, multiplies the messages.

    Args:
        n_labels: L.
        alpha: fixed strength of the coupling.
        sparsity: lambda, the weight of the sum of |A|.
        proximal: the penalty is a step after each update (`training/proximal.py`) and no term of the loss.
        loss: whose `probability` is the message; None: the sigmoid. With it, the loss's own tensors are saved too.
        steps: how often messages are exchanged.
        gate: how loudly each label speaks in an image; None: always as loudly.
        teach: share of training images whose known labels it is to be told; the training loop tells them.
        lr_factor: A's learning rate is the head's times this.

    >>> refiner = LabelGraphRefiner(n_labels=2, alpha=0.3)
    >>> with torch.no_grad():
    ...     _ = refiner.A.copy_(torch.tensor([[9.0, 2.0], [0.0, 9.0]]))  # the diagonal is ignored
    >>> refiner(torch.tensor([[0.0, -1.0]]))  # label 0 at p = 1/2 adds 0.3 * 0.5 * 2 to label 1
    tensor([[ 0.0000, -0.7000]], grad_fn=<AddBackward0>)
    >>> refiner(torch.tensor([[0.0, -1.0]]), known=torch.tensor([[1.0, float("nan")]]))
    tensor([[ 0.0000, -0.4000]], grad_fn=<AddBackward0>)
    >>> refiner.l1()
    tensor(2., grad_fn=<SumBackward0>)
    """

    mask: Tensor

    def __init__(
        self,
        n_labels: int,
        alpha: float,
        sparsity: float = 0.0,
        *,
        proximal: bool = False,
        loss: MultiLabelLoss | None = None,
        steps: int = 1,
        gate: SourceGate | None = None,
        teach: float = 0.0,
        lr_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.n_labels = n_labels
        self.alpha = alpha
        self.sparsity = sparsity
        self.proximal = proximal
        self.steps = steps
        self.teach = teach
        self.lr_factor = lr_factor
        self.A = nn.Parameter(torch.zeros(n_labels, n_labels))
        self.register_buffer("mask", 1 - torch.eye(n_labels), persistent=False)
        self.loss = loss
        self.gate = gate

    @property
    def couplings(self) -> Tensor:
        """Masked A (L, L): rows sources, columns targets, zero diagonal."""
        return self.A * self.mask

    def l1(self) -> Tensor:
        """Sum of |A| over the off-diagonal entries (a scalar)."""
        return self.couplings.abs().sum()

    def loss_terms(self) -> dict[str, Tensor]:
        """The L1 term that pulls A to zero."""
        return {} if self.proximal else {"couplings": self.sparsity * self.l1()}

    def message(self, logits: Tensor) -> Tensor:
        """m (B, L): what each label tells the others."""
        return torch.sigmoid(logits) if self.loss is None else self.loss.probability(logits)

    def forward(self, logits: Tensor, features: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """Refine logits (B, L). Computed in A's own type, float32, even under autocast.

        Args:
            logits: of the head.
            features: what the head read, pooled (B, F) or a map (B, F, H, W); only a gate asks for them.
            known: (B, L) of 1, 0 or NaN: labels that are told instead of what the logits say of them.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.to(self.A.dtype)
            message, couplings = self.message(logits), self.couplings
            if known is not None:
                known = known.to(message.dtype)
                message = torch.where(known.isnan(), message, known)
            loudness = None
            if self.gate is not None:
                if features is None:
                    raise ValueError("a refiner with a gate needs the image's features")
                loudness = self.gate(features)
                message = loudness * message
            refined = logits + self.alpha * (message @ couplings)
            if self.steps == 1:
                return refined
            once = refined
            for _ in range(self.steps - 1):
                message = self.message(refined)
                message = message if loudness is None else loudness * message
                refined = logits + self.alpha * (message @ couplings)
            return (
                refined if known is None else torch.where(known.isnan().all(1, keepdim=True), refined, once)
            )

    # --- what the history says of it --------------------------------------------------------------------------

    def mean_abs_coupling(self) -> float | None:
        """Mean of |A| over the off-diagonal entries; None where there is none (one label)."""
        cells = self.n_labels * (self.n_labels - 1)
        return self.l1().item() / cells if cells else None

    def zero_share(self) -> float | None:
        """Share of the off-diagonal entries that are exactly zero; None where there is none (one label)."""
        cells = self.n_labels * (self.n_labels - 1)
        return 1 - int(self.couplings.count_nonzero()) / cells if cells else None

    @torch.no_grad()
    def spectral_radius(self) -> float:
        """rho(alpha s |A|), s the steepest slope of a message (twice that with a gate). Below 1 steps converge.

        z -> z_0 + alpha m(z) A is a contraction in a weighted maximum norm if and only if it is below 1, whatever the
        logits (Perron-Frobenius). An A without a circle has 0: it is done after L steps at most.
        """
        # Gelfand's formula, the size of the 2^k-th power: eigenvalues of an A without a circle, all 0, come out of
        # LAPACK as large as 0.1.
        power = (abs(self.alpha) * self._steepest()[:, None] * self.couplings.abs()).double()
        log_radius = 0.0
        for k in range(50):
            size = float(power.max())
            if size == 0:
                return 0.0
            log_radius += math.log(size) / 2**k
            power = (power / size) @ (power / size)
        return math.exp(log_radius)

    def _steepest(self) -> Tensor:
        with torch.enable_grad():
            grid = torch.linspace(-STEEPEST_WITHIN, STEEPEST_WITHIN, 6001, device=self.A.device)
            logits = grid[:, None].repeat(1, self.n_labels).requires_grad_()
            (slope,) = torch.autograd.grad(self.message(logits).sum(), logits)
        return slope.amax(dim=0) * (1 if self.gate is None else 2)


def build_refiner(
    refiner: RefinerParams,
    loss: LossParams,
    n_labels: int,
    in_features: int,
    train_truth: np.ndarray | None = None,
) -> LabelGraphRefiner | None:
    """The refiner that the section `refiner` names, at its start; None if none is trained.

    Args:
        refiner, loss: the sections; a calibrated message is the loss's.
        n_labels: L.
        in_features: F, of the backbone.
        train_truth: (N, L) of the training fold; None where saved weights take its place.
    """
    if not refiner.trained:
        return None
    calibrated = None
    if refiner.message == "calibrated":
        # Saved weights take the place of what a loss takes from the training fold: its weights of positives.
        calibrated = build_loss(loss, np.zeros((1, n_labels)) if train_truth is None else train_truth)
    return LabelGraphRefiner(
        n_labels,
        refiner.alpha,
        refiner.lambda_,
        proximal=refiner.sparsity == "proximal",
        loss=calibrated,
        steps=refiner.steps,
        gate=SourceGate(in_features, n_labels) if refiner.conditional == "gate" else None,
        teach=refiner.teach,
        lr_factor=refiner.lr_factor,
    )
