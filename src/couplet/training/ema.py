"""Exponential moving average of a whole predictor: parameters and BatchNorm statistics alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

UPDATES = "updates"


class EMA:
    """Averages of what is in a model's state dict, on the model's device, in float32.

    Floating entries follow shadow = d * shadow + (1 - d) * value with d = min(decay, (1 + t) / (10 + t)), t
    being the updates done before this one: 0.1 at first, so that a short run does not evaluate its initial
    weights. Other entries (BatchNorm's batch counter) are copied.

    Args:
        model: what is averaged, and where the averages start; already on its device, where it stays.
        decay: d in the long run, in [0, 1).
        sparse: names of entries whose average is zero wherever their value is: else an entry that was ever another
            than zero would never be zero again.
        names: of the entries that are averaged; None: all.
    """

    def __init__(
        self,
        model: nn.Module,
        decay: float,
        sparse: Collection[str] = (),
        names: Collection[str] | None = None,
    ) -> None:
        self.decay = decay
        self.updates = 0
        # Collected once: walking through the modules takes longer than averaging what is in them.
        self.live: dict[str, Tensor] = {
            key: value for key, value in model.state_dict().items() if names is None or key in names
        }
        self.shadow: dict[str, Tensor] = {
            # Masters of half-precision weights would lose small updates in half precision.
            key: value.to(torch.float32 if value.dtype.itemsize < 4 else value.dtype, copy=True)
            if value.is_floating_point()
            else value.clone()
            for key, value in self.live.items()
        }
        averaged = [key for key, value in self.live.items() if value.is_floating_point()]
        copied = [key for key, value in self.live.items() if not value.is_floating_point()]
        self._averaged = [self.shadow[key] for key in averaged], [self.live[key] for key in averaged]
        # Mostly there is nothing to cast, and asking each tensor takes longer than averaging all of them.
        self._cast = any(self.shadow[key].dtype != self.live[key].dtype for key in averaged)
        self._copied = [self.shadow[key] for key in copied], [self.live[key] for key in copied]
        self._sparse = [(self.shadow[key], self.live[key]) for key in sparse]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's weights as they are now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        shadows, values = self._averaged
        if self._cast:
            values = [value.to(shadow.dtype) for shadow, value in zip(shadows, values, strict=True)]
        torch._foreach_lerp_(shadows, values, 1 - decay)
        if self._copied[0]:
            torch._foreach_copy_(*self._copied)
        for shadow, value in self._sparse:
            shadow.masked_fill_(value == 0, 0)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model holds the averages within the block, and exactly its own weights again after it."""
        live = list(self.live.values())
        own = [value.clone() for value in live]
        with torch.no_grad():
            torch._foreach_copy_(live, list(self.shadow.values()))
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(live, own)

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
