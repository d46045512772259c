"""The opponent in the training benchmarks: what one writes without couplet, from the first paper's description.

Files are decoded and augmented one by one by torchvision in a DataLoader; the network runs in float32 and NCHW.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.layers import SEModule
from timm.loss import AsymmetricLossMultiLabel
from timm.utils import ModelEmaV3
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from couplet.models.predictor import Predictor
from couplet.models.squeeze import ChannelsLastSE
from couplet.settings.params import Params
from couplet.training.schedule import learning_rate_factor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which the backbones expect


class Images(Dataset[tuple[Tensor, Tensor]]):
    """Images with their labels, opened and transformed one by one.

    Args:
        images: files, or an array (N, S, S) of grey levels.
        labels: (N, L).
        transform: from a PIL image to a tensor.
        mode: RGB, as is usual, or L where the transforms are to work on one channel.
    """

    def __init__(
        self,
        images: Sequence[Path] | np.ndarray,
        labels: np.ndarray,
        transform: Callable[..., Tensor],
        mode: str = "RGB",
    ) -> None:
        self.images, self.labels, self.transform, self.mode = (
            images,
            torch.from_numpy(labels),
            transform,
            mode,
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        opened = Image.fromarray(image) if isinstance(image, np.ndarray) else Image.open(image)
        return self.transform(opened.convert(self.mode)), self.labels[index]


def training_transforms(size: int) -> Callable[..., Tensor]:
    """The first paper's training view."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.84, 1.0), ratio=(3 / 4, 4 / 3)),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomRotation(10, interpolation=v2.InterpolationMode.BILINEAR),
            *to_tensor(),
        ]
    )


def to_tensor() -> list[Callable[..., Any]]:
    return [v2.ToImage(), v2.RGB(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def loader(dataset: Dataset[Any], batch_size: int, workers: int, drop_last: bool = False) -> DataLoader[Any]:
    # Forked workers start at once; spawned ones would import torch first.
    return DataLoader(
        dataset,
        batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=drop_last,
        multiprocessing_context="fork",
    )


class PlainLoop:
    """A training loop over a copy of a predictor: float32, NCHW, timm's loss and EMA, torch's defaults."""

    def __init__(self, predictor: Predictor, params: Params, steps_per_epoch: int) -> None:
        self.model = deepcopy(predictor).train()
        for module in self.model.modules():
            if isinstance(module, ChannelsLastSE):  # couplet's own: back to timm's
                module.__class__ = SEModule  # type: ignore[assignment]
        self.criterion = AsymmetricLossMultiLabel(gamma_neg=4, gamma_pos=0, clip=0.05)
        self.sparsity = params.refiner.lambda_
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=params.optimizer.lr, weight_decay=params.optimizer.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(params.schedule, step, steps_per_epoch)
        )
        self.ema = ModelEmaV3(self.model, decay=params.ema.decay)

    def step(self, images: Tensor, targets: Tensor) -> float:
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(images), targets)
        if self.model.refiner is not None:
            loss = loss + self.sparsity * self.model.refiner.l1()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.ema.update(self.model)
        return loss.item()


@torch.no_grad()
def probabilities(model: torch.nn.Module, images: Tensor) -> np.ndarray:
    """The mean over an image and its mirror image."""
    model.eval()
    return (model(images).sigmoid() + model(images.flip(-1)).sigmoid()).div(2).numpy()
