"""Exponential moving average of a whole predictor: parameters and BatchNorm statistics alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

UPDATES = "updates"


class EMA:
    """Averages of everything in a model's state dict, on the model's device, in float32.

    Floating entries follow shadow = d * shadow + (1 - d) * value with d = min(decay, (1 + t) / (10 + t)), t
    being the updates done before this one: 0.1 at first, so that a short run does not evaluate its initial
    weights. Other entries (BatchNorm's batch counter) are copied.

    Args:
        model: where the averages start.
        decay: d in the long run, in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow: dict[str, Tensor] = {
            # Masters of half-precision weights would lose small updates in half precision.
            key: value.to(torch.float32 if value.dtype.itemsize < 4 else value.dtype, copy=True)
            if value.is_floating_point()
            else value.clone()
            for key, value in model.state_dict().items()
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's weights after an optimiser step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        state = model.state_dict()
        averaged = [key for key, value in self.shadow.items() if value.is_floating_point()]
        copied = [key for key, value in self.shadow.items() if not value.is_floating_point()]
        shadows = [self.shadow[key] for key in averaged]
        values = [state[key].to(self.shadow[key].dtype) for key in averaged]
        torch._foreach_lerp_(shadows, values, 1 - decay)
        if copied:
            torch._foreach_copy_([self.shadow[key] for key in copied], [state[key] for key in copied])
        self.updates += 1

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Overwrite the model's weights with the averages."""
        state = model.state_dict()
        torch._foreach_copy_([state[key] for key in self.shadow], list(self.shadow.values()))

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """The model holds the averages within the block, and exactly its own weights again after it."""
        own = {key: value.clone() for key, value in model.state_dict().items()}
        self.copy_to(model)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages under the model's own keys, and `updates`: flat, as safetensors needs it."""
        return {**self.shadow, UPDATES: torch.tensor(self.updates)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state_dict`.

        Raises:
            KeyError: the state is of another model.
        """
        if state.keys() != self.shadow.keys() | {UPDATES}:
            raise KeyError("the averages are of another model")
        for key, value in self.shadow.items():
            value.copy_(state[key])
        self.updates = int(state[UPDATES])
