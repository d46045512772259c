"""The whole ensemble as one module without Python decisions, for export: stored pixels to probabilities.

What crops, `evaluation_view`, the predictors, flip test-time augmentation and the mean over the folds do one after the
other, written so that an exporter cannot read it in two ways: n images, C channels of the store, S side of stored
images, s side of the view, K folds, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from couplet.evaluation.calibration.beta import LEAST, MOST
from couplet.evaluation.couplings.fit import LabelCouplings
from couplet.images.loading.views import evaluation_crops
from couplet.models.backbone import normalisation
from couplet.models.predictor import Predictor
from couplet.results.bundle import UNREFINED
from couplet.settings.schema.inference import View


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


class FittedCouplings(nn.Module):
    """Couplings fitted after training, in float32: outputs of one model to refined probabilities (..., L).

    Args:
        couplings: what `LabelCouplings.refined` says in float64.
    """

    A: Tensor
    link: Tensor
    intercept: Tensor
    scale: Tensor

    def __init__(self, couplings: LabelCouplings) -> None:
        super().__init__()
        fitted, links = couplings.fitted, couplings.links
        self.register_buffer("A", torch.tensor(fitted.A * fitted.kappa, dtype=torch.float32))
        self.register_buffer("link", torch.tensor([[one.a, one.b, one.c] for one in links]).T.contiguous())
        self.register_buffer("intercept", torch.tensor(fitted.line.intercept, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(fitted.line.scale, dtype=torch.float32))

    def forward(self, p: Tensor) -> Tensor:
        """Outputs (..., L); of an image with one that is NaN all are, since it is a source too."""
        a, b, c = self.link
        # The ends 0 and 1 are moved as `off_edges` moves them; float32 has neither of the values that it moves them to.
        log_p = torch.where(p > 0, p.log(), math.log(LEAST))
        log_q = torch.where(p < 1, torch.log1p(-p), math.log1p(-MOST))
        own = torch.where(p >= 0, a * log_p - b * log_q + c, torch.nan)
        return (self.intercept + self.scale * own + own.sigmoid() @ self.A).sigmoid()


class EnsembleGraph(nn.Module):
    """Stored pixels to the ensemble's probabilities. Computes in float32, whatever the folds were trained in.

    The folds share one backbone's kind and therefore one normalisation.

    Args:
        predictors: of K folds, in evaluation mode.
        stored: S, pixels.
        size: s, pixels.
        tta: whether an image and its mirror image are averaged.
        couplings: fitted after training, by which each fold's probabilities are refined; None: there are none.
        view: what of a stored picture is seen (inference.view).
    """

    resampling: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        predictors: Sequence[Predictor],
        stored: int,
        size: int,
        tta: bool,
        couplings: LabelCouplings | None = None,
        view: View = "whole",
    ) -> None:
        super().__init__()
        self.couplings = None if couplings is None else FittedCouplings(couplings)
        self.predictors = nn.ModuleList(predictors)
        for predictor in predictors:
            if predictor.refiner is not None:
                # ASL works a gradient out when its probability is first asked for: no exporter can follow that.
                predictor.refiner.message(torch.zeros(1, predictor.refiner.n_labels))
        self.tta, self.view, self.size = tta, view, size
        self.resized = view == "whole" and stored != size
        mean, std = (torch.tensor(three)[:, None, None] for three in normalisation(predictors[0].backbone))
        self.register_buffer("resampling", resampling_matrix(stored, size))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `forward` gives, in its order."""
        plain = ("probabilities", "by_fold")
        return plain if self.couplings is None else (*plain, UNREFINED)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images uint8 (n, C, S, S) to probabilities (n, L), the mean over the folds, and by_fold (n, K, L).

        With couplings fitted after training both are refined, and a third is what the networks gave: who is told some
        labels of an image (`couplet predict --known`) begins there.

        A probability is NaN where a logit is not finite.
        """
        views = [self._seen(crop) for crop in evaluation_crops(images, self.size, self.view)]
        if self.tta:
            views = [one for view in views for one in (view, view.flip(-1))]
        # Image and mirror image as one batch of 2n: half the nodes of two calls, a quarter of the export's time.
        batch = torch.stack(views, dim=1).flatten(0, 1) if len(views) > 1 else views[0]
        by_fold = [self._of_fold(predictor, batch, len(views)) for predictor in self.predictors]
        return self._ensemble(torch.stack(by_fold, dim=1))

    def _seen(self, crop: Tensor) -> Tensor:
        pixels = crop.float()
        if self.resized:
            pixels = self.resampling @ pixels @ self.resampling.T
        return pixels * self.scale + self.shift  # grey is spread over the three channels here

    def _ensemble(self, by_fold: Tensor) -> tuple[Tensor, ...]:
        if self.couplings is None:
            return by_fold.mean(dim=1), by_fold
        refined = self.couplings(by_fold)
        return refined.mean(dim=1), refined, by_fold

    def _of_fold(self, predictor: nn.Module, batch: Tensor, views: int) -> Tensor:
        logits = predictor(batch)
        # An infinite logit is an overflow, and no certainty: the sigmoid alone would make it a plain 0 or 1.
        probabilities = torch.where(logits.abs() < torch.inf, logits.sigmoid(), torch.nan)
        # `unflatten` keeps n symbolic; with `chunk` the exporter fixes it to that of its example.
        return probabilities.unflatten(0, (-1, views)).mean(dim=1) if views > 1 else probabilities
