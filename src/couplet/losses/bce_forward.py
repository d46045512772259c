"""Binary cross-entropy of the labels that one has, for a network that predicts those that one wants."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from couplet.project.errors import UserError
from couplet.training.loss import MultiLabelLoss, Reduction


class ForwardBCE(MultiLabelLoss):
    """BCE of P(observed) = r (1 - e) + (1 - r) e with r = (1 - missing) sigmoid(z) ("forward correction").

    A positive is missing from the table with probability `missing`, then every label is flipped with probability e.
    Of observed labels the minimiser is their own probability, so sigmoid(z) becomes that of the clean ones (Patrini et
    al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach", CVPR 2017, for one label of
    two classes). For missing positives alone the gradient is that of EM (Elkan and Noto 2008).

    Args:
        missing_rate: (L,) or a scalar, in [0, 1).
        flip_rate: e, in [0, 1/2).
        reduction, smoothing: see `MultiLabelLoss`.

    >>> loss = ForwardBCE(torch.tensor(0.5), reduction="sum")
    >>> for target in (1.0, 0.0):  # p = 1/2 is observed as a positive in one of four images
    ...     print(round(loss(torch.zeros(1, 1), torch.tensor([[target]])).item(), 4))
    1.3863
    0.2877
    """

    missing_rate: Tensor

    def __init__(
        self,
        missing_rate: Tensor,
        flip_rate: float = 0.0,
        reduction: Reduction = "batchmean",
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction, smoothing)
        self.register_buffer("missing_rate", missing_rate)
        self.flip_rate = flip_rate

    @classmethod
    def from_settings(
        cls, settings: Any, reduction: Reduction, smoothing: float, train_truth: np.ndarray
    ) -> ForwardBCE:
        """Build it from settings/losses/bce_forward.py.

        Raises:
            UserError: a list of rates has not one for each label.
        """
        rates, n_labels = settings.missing_rate, np.shape(train_truth)[1]
        if isinstance(rates, list) and len(rates) != n_labels:
            raise UserError(
                f"params.yaml: loss.args.missing_rate lists {len(rates)} rates for {n_labels} labels: give one for "
                "each, in the order of data/prepared/labels.json, or one number for all"
            )
        return cls(torch.tensor(rates, dtype=torch.float32), settings.flip_rate, reduction, smoothing)

    def cells(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of every cell (B, L)."""
        # P(observed positive) = flip + scale p, P(observed negative) = rest + scale (1 - p): sums of positive numbers,
        # so their logarithms are exact for every logit.
        flip = torch.tensor(self.flip_rate, dtype=logits.dtype, device=logits.device)
        missing = self.missing_rate.to(logits.dtype)
        scale, rest = (1 - 2 * flip) * (1 - missing), flip + (1 - 2 * flip) * missing
        positive = torch.logaddexp(flip.log(), scale.log() + functional.logsigmoid(logits))
        negative = torch.logaddexp(rest.log(), scale.log() + functional.logsigmoid(-logits))
        return -(targets * positive + (1 - targets) * negative)


LOSS = ForwardBCE
