"""Undoing a batch on the device, and reading what became of it one step later.

Asking a GPU for one number makes the host wait until all that it was given is done; then the GPU waits for the
host. So a batch that is not finite is undone on the device, and what became of it is read one step later, when it
has long been computed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatBuffers:
    """A module's floating buffers (BatchNorm's running statistics), saved and put back as one tensor.

    The forward pass of a batch that overflows poisons them for good. Each buffer must be dense in memory, in whichever
    layout.

    Raises:
        ValueError: a buffer is not: a slice of a larger tensor, or expanded.
    """

    def __init__(self, module: nn.Module) -> None:
        named = {name: buffer for name, buffer in module.named_buffers() if buffer.is_floating_point()}
        for name, buffer in named.items():
            # A tensor of the same layout keeps the strides if they leave no gap and no overlap.
            if torch.empty_like(buffer, device="meta").stride() != buffer.stride():
                raise ValueError(f"buffer {name} is not dense in memory: register it as `.contiguous()`")
        self.buffers = list(named.values())
        # Views of the buffers' memory, made once: a large network has hundreds, and each view takes the host as long
        # as a kernel's launch.
        self._vectors = [buffer.as_strided((buffer.numel(),), (1,)) for buffer in self.buffers]
        self._lengths = [len(vector) for vector in self._vectors]
        self._saved: Tensor | None = None

    @torch.no_grad()
    def save(self) -> None:
        """Remember the values as they are now."""
        self._saved = torch.cat(self._vectors) if self._vectors else None

    @torch.no_grad()
    def restore_unless(self, finite: Tensor) -> None:
        """Put the saved values back if `finite`, a single boolean on the device, is False."""
        if self._saved is None:
            return
        kept = torch.where(finite, torch.cat(self._vectors), self._saved)
        torch._foreach_copy_(self._vectors, kept.split(self._lengths))


class Readback:
    """A few numbers of the last step, copied to the host while the device computes on."""

    def __init__(self, n: int, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._host = torch.zeros(n, pin_memory=self._on_gpu)
        self._arrived = torch.cuda.Event() if self._on_gpu else None

    def put(self, values: Tensor) -> None:
        """Send `values` (n,); those of the step before must have been taken."""
        self._host.copy_(values, non_blocking=True)
        if self._arrived is not None:
            self._arrived.record()

    def take(self) -> list[float]:
        """The numbers; waits for the step that sent them, and for nothing that was launched since."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host.tolist()
