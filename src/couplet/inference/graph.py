"""The whole ensemble as one module without Python decisions, for export: stored pixels to probabilities.

What `evaluation_view`, the predictors, flip test-time augmentation and the mean over the folds do one after the other,
written so that an exporter cannot read it in two ways: n images, C channels of the store, S side of stored images, s
side of the view, K folds, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from couplet.models.backbone import normalisation
from couplet.models.predictor import Predictor


def resampling_matrix(stored: int, size: int) -> Tensor:
    """R, float32 (size, stored): torch's own antialiased bilinear resize of a line of pixels, as a matrix.

    An image is resized by R x R^T. Exporters and runtimes disagree about antialiased Resize nodes; about products of
    matrices they do not. Each row sums to 1.

    >>> resampling_matrix(4, 2)
    tensor([[0.4286, 0.4286, 0.1429, 0.0000],
            [0.0000, 0.1429, 0.4286, 0.4286]])
    """
    unit_rows = torch.eye(stored, dtype=torch.float64)[None, :, None, :]  # (1, stored, 1, stored)
    resized = F.interpolate(unit_rows, size=(1, size), mode="bilinear", antialias=True, align_corners=False)
    return resized[0, :, 0, :].T.contiguous().float()


class EnsembleGraph(nn.Module):
    """Stored pixels to the ensemble's probabilities. Computes in float32, whatever the folds were trained in.

    The folds share one backbone's kind and therefore one normalisation.

    Args:
        predictors: of K folds, in evaluation mode.
        stored: S, pixels.
        size: s, pixels.
        tta: whether an image and its mirror image are averaged.
    """

    resampling: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, predictors: Sequence[Predictor], stored: int, size: int, tta: bool) -> None:
        super().__init__()
        self.predictors = nn.ModuleList(predictors)
        self.tta = tta
        self.resized = stored != size
        mean, std = (torch.tensor(three)[:, None, None] for three in normalisation(predictors[0].backbone))
        self.register_buffer("resampling", resampling_matrix(stored, size))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images uint8 (n, C, S, S) to probabilities (n, L), the mean over the folds, and by_fold (n, K, L).

        A probability is NaN where a logit is not finite.
        """
        pixels = images.float()
        if self.resized:
            pixels = self.resampling @ pixels @ self.resampling.T
        view = pixels * self.scale + self.shift  # grey is spread over the three channels here
        if self.tta:
            # Image and mirror image as one batch of 2n: half the nodes of two calls, a quarter of the export's time.
            view = torch.stack([view, view.flip(-1)], dim=1).flatten(0, 1)
        by_fold = torch.stack([self._of_fold(predictor, view) for predictor in self.predictors], dim=1)
        return by_fold.mean(dim=1), by_fold

    def _of_fold(self, predictor: nn.Module, view: Tensor) -> Tensor:
        logits = predictor(view)
        # An infinite logit is an overflow, and no certainty: the sigmoid alone would make it a plain 0 or 1.
        probabilities = torch.where(logits.abs() < torch.inf, logits.sigmoid(), torch.nan)
        # `unflatten` keeps n symbolic; with `chunk` the exporter fixes it to that of its example.
        return probabilities.unflatten(0, (-1, 2)).mean(dim=1) if self.tta else probabilities
