"""One training step: forward, backward, update, and what became of it.

The host never waits for the device: whether a batch was finite is read one step later (`training/undo.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from couplet.models.device import autocast, seed_generators
from couplet.models.predictor import Predictor
from couplet.training.ema import EMA
from couplet.training.optimizer import set_learning_rate
from couplet.training.parts import Parts
from couplet.training.undo import FlatBuffers, Readback


@dataclass(frozen=True)
class Batch:
    """What one step trains on. B images.

    Attributes:
        images: (B, 3, S, S) normalised views, on the device.
        truth: (B, L) of 1, 0 or NaN for unknown, on the device.
        rows: (B,) places of the images in the training fold.
        epoch: from 0.
        number: of the batch within its epoch, from 0.
        seed: of this step's dropout.
        weight: of the supervised loss; of a part of a step, see `training/parts.py`.
        known: (B, L) of 1, 0 or NaN, on the device: labels that the predictor is told; None: none.
        metadata: (B, m) in [0, 1] or NaN, on the device: what the head reads beside the features; None: nothing.
    """

    images: Tensor
    truth: Tensor
    rows: np.ndarray
    epoch: int
    number: int
    seed: int
    weight: float = 1.0
    known: Tensor | None = None
    metadata: Tensor | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a batch: its loss, whether loss and gradient were finite, and the fp16 scale that it had.

    `stop` says that one of the processes had been asked to end: all of them read it of the same batch.
    """

    batch: int
    loss: float
    finite: bool
    scale: float
    stop: bool = False


class Step:
    """Trains a predictor by one batch at a time.

    Args:
        predictor, loss, optimizer, ema: what is trained, and how; `loss` takes (logits, truth).
        precision: bf16, fp16 or float32, of the forward pass through the backbone.
        max_grad_norm: bound of the global gradient norm.
        on_outcome: told of each batch one step later, before the learning rate of the next is asked for.
        learning_rate_factor: gives what base learning rates are multiplied by, for the coming update.
        parts: what a step is made of, and which processes share it.
    """

    def __init__(
        self,
        predictor: Predictor,
        loss: nn.Module,
        optimizer: torch.optim.Optimizer,
        ema: EMA | None,
        *,
        precision: str,
        max_grad_norm: float,
        on_outcome: Callable[[Outcome], None],
        learning_rate_factor: Callable[[], float],
        parts: Parts | None = None,
    ) -> None:
        self.predictor, self.loss, self.optimizer, self.ema = predictor, loss, optimizer, ema
        self.precision, self.max_grad_norm = precision, max_grad_norm
        self.on_outcome, self.learning_rate_factor = on_outcome, learning_rate_factor
        # Collected once: walking through the modules takes half as long as clipping their gradients.
        self.parameters = list(predictor.parameters())
        self.device = self.parameters[0].device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.buffers = FlatBuffers(predictor)
        self.parts = parts or Parts(1)
        self._readback = Readback(4, self.device)
        self._unread = -1  # the batch whose outcome is still to be read

    def __call__(self, batch: Batch) -> None:
        """Forward, backward, and an update that does nothing if something is not finite."""
        self.buffers.save()
        loss = self._gradients(batch)
        self._update(batch.number, loss, torch.full_like(loss, float(self.parts.asked_to_stop())))

    def in_parts(self, number: int, batches: Iterable[Batch]) -> None:
        """The same for the step of this `number`, of which `batches` are the parts that this process computes."""
        self.buffers.save()
        self._update(number, *self.parts.mean_gradients(self.predictor, batches, self._gradients))

    def _gradients(self, batch: Batch) -> Tensor:
        """Forward and backward: leaves the gradients, times fp16's scale, and gives the loss."""
        seed_generators(batch.seed, self.device)
        batch = replace(batch, truth=self.predictor.trained_head.shown(batch.truth))
        for parameter in self.parameters:
            parameter.grad = None
        with autocast(self.device, self.precision):
            images = batch.images.contiguous(memory_format=torch.channels_last)
            logits = self.predictor(images, batch.known, batch.metadata)
        loss = self.loss(logits, batch.truth)
        if batch.weight != 1:
            loss = batch.weight * loss
        for term in self.predictor.loss_terms().values():
            loss = loss + term
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _update(self, number: int, loss: Tensor, stop: Tensor) -> None:
        scale = self.scaler.scale(torch.ones_like(loss))
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        finite = torch.isfinite(loss) & torch.isfinite(norm)

        self.read_outcome()  # of the batch before, which the device has long finished: it decides the learning rate
        set_learning_rate(self.optimizer, self.learning_rate_factor())
        # What GradScaler tells the fused optimisers: they leave everything as it is if it is not 0.
        self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self.scaler.update()
        self.buffers.restore_unless(finite)
        if self.ema is not None:
            self.ema.update()

        self._readback.put(torch.stack([loss, finite, scale, stop]))
        self._unread = number

    def read_outcome(self) -> None:
        """Tell of the last batch whose outcome is not read yet, if there is one."""
        if self._unread < 0:
            return
        batch, self._unread = self._unread, -1
        loss, finite, scale, stop = self._readback.take()
        self.on_outcome(Outcome(batch, loss, bool(finite), scale, bool(stop)))
