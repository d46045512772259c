"""The penalty on |A| as a proximal step: couplings that do not pay become exactly zero.

The subgradient of an L1 term in the loss never makes an entry exactly zero under Adam: it moves by about the learning
rate however small its gradient is. The proximal step does, in the metric of the update that it follows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

REWEIGHTING = 0.3  # |A| at which an entry is pulled half as hard as at zero


def soft_threshold(values: Tensor, threshold: Tensor) -> Tensor:
    """S(a, t) = sign(a) max(|a| - t, 0).

    >>> soft_threshold(torch.tensor([-3.0, 0.5, 2.0]), torch.tensor(1.0))
    tensor([-2.,  0.,  1.])
    """
    return torch.where(values.abs() > threshold, values - threshold * values.sign(), 0)


class ProximalStep:
    """A_ij <- S(A_ij, eta lambda w_ij / (sqrt(v_ij) + eps)) after an optimiser's update; nothing after a skipped one.

    eta is the group's learning rate now, v AdamW's bias-corrected second moment and eps its own, so that a zero stays
    one as long as its gradient is at most lambda w: the fixed points are those of the L1 penalty. Of SGD the
    threshold is eta lambda w. w_ij = 0.3 / (|A_ij| + 0.3) stops large couplings from being shrunk (reweighted L1,
    Candes, Wakin and Boyd 2008). Our own reading; the constant was chosen on simulated labels at alpha 0.3.

    Registered as the optimiser's post hook it is a part of each of its steps. It has no state of its own.

    Args:
        values: A, a parameter of one of the optimiser's groups.
        weight: lambda.
    """

    def __init__(self, values: torch.nn.Parameter, weight: float) -> None:
        self.values, self.weight = values, weight

    @torch.no_grad()
    def __call__(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Shrink the values, as an optimiser calls its hooks: (optimizer, args, kwargs)."""
        group = next(g for g in optimizer.param_groups if any(p is self.values for p in g["params"]))
        state = optimizer.state[self.values]
        threshold = group["lr"] * self.weight * REWEIGHTING / (self.values.abs() + REWEIGHTING)
        if "exp_avg_sq" in state:
            correction = 1 - group["betas"][1] ** state["step"]
            threshold = threshold / ((state["exp_avg_sq"] / correction).sqrt() + group["eps"])
        shrunk = soft_threshold(self.values, threshold)
        # What the fused optimisers themselves are told of a batch that is not finite (`training/step.py`).
        found_inf = getattr(optimizer, "found_inf", None)
        if found_inf is not None:
            # A choice, not a product: of a first batch that is skipped the threshold is 0 / 0.
            shrunk = torch.where(found_inf.bool(), self.values, shrunk)
        self.values.copy_(shrunk)
