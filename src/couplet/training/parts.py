"""A step made of equal parts: the same bytes, however many processes share them.

The part, and not the process, is the unit of arithmetic: it has its own BatchNorm statistics, its own dropout and its
own gradient, and the parts' gradients are added as a fixed binary tree. Every sum is then the same one in the same
order for 1, 2 or 4 processes (IEEE addition commutes, but does not associate). Letting results not depend on how work
is mapped to processes is the idea of EasyScale (Li et al., SC 2023); the tree is our own reading of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from couplet.project.errors import UserError
from couplet.training.processes import ALONE, Processes

if TYPE_CHECKING:
    from couplet.training.step import Batch


class Share(NamedTuple):
    """A part that this process computes.

    Attributes:
        stored: (B / M, C, S', S') its stored images.
        rows: (B / M,) their places in the training fold.
        number: m of M.
        weight: of the part's supervised loss, see `loss_weights`.
    """

    stored: Tensor
    rows: np.ndarray
    number: int
    weight: float


def tree_sum(vectors: Iterable[Tensor]) -> Tensor:
    """Sum of equally shaped tensors as a binary tree in their order; a power of two of them, used up.

    At most log2 of their number are held at a time: two sums of the same size are added as soon as both are there.

    >>> values = torch.tensor([1e8, 1.0, -1e8, 1.0])
    >>> tree_sum(values).item(), sum(values).item()  # (1e8 + 1) + (1 - 1e8), where float32 drops both ones
    (0.0, 1.0)
    """
    sums: list[tuple[int, Tensor]] = []  # (how many vectors, their sum), larger ones first
    for vector in vectors:
        sums.append((1, vector))
        while len(sums) > 1 and sums[-1][0] == sums[-2][0]:
            n, right = sums.pop()
            sums[-1] = (2 * n, sums[-1][1] + right)
    ((_, total),) = sums
    return total


def loss_weights(known: np.ndarray, parts: int, reduction: str) -> list[float]:
    """What each part's loss is multiplied by, so that the mean over parts is the loss of the whole step.

    `batchmean` needs nothing, since parts have equally many images; `sum` is `parts` times larger than its parts'
    mean; `mean` divides each part by its own known cells, and is to divide by those of the whole step.

    Args:
        known: (B, L) true where a label is known, in the step's order.
        parts: M.
        reduction: loss.reduction.
    """
    if reduction == "batchmean":
        return [1.0] * parts
    if reduction == "sum":
        return [float(parts)] * parts
    counts = [int(cells.sum()) for cells in np.split(known, parts)]
    return [parts * max(count, 1) / max(sum(counts), 1) for count in counts]


class Parts:
    """The parts of a fold's steps: which of them are this process's, and the mean of what all give.

    Args:
        n: train.parts, a power of two; 1 is a step as a whole.
        processes: that share them; their number divides n.
        asked_to_stop: whether this process was asked to end.
    """

    def __init__(
        self, n: int, processes: Processes = ALONE, asked_to_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.n, self.processes, self.asked_to_stop = n, processes, asked_to_stop

    def of_this_process(self, values: np.ndarray, batch_size: int) -> np.ndarray:
        """Of each step's `batch_size` values those of this process's parts, one step after the other."""
        steps = values.reshape(-1, self.processes.size, batch_size // self.processes.size)
        return steps[:, self.processes.rank].ravel()

    def shares(self, stored: Tensor, rows: np.ndarray, truth: np.ndarray, reduction: str) -> Iterator[Share]:
        """This process's parts of one step.

        Args:
            stored: (B / W, C, S', S') images that `of_this_process` chose.
            rows: (B,) all rows of the step.
            truth: (B, L) their labels, NaN for unknown.
            reduction: loss.reduction.
        """
        weights = loss_weights(~np.isnan(truth), self.n, reduction)
        size, own = len(rows) // self.n, self.n // self.processes.size
        for place, images in enumerate(stored.split(size)):
            number = self.processes.rank * own + place
            yield Share(images, rows[number * size : (number + 1) * size], number, weights[number])

    def mean_gradients(
        self, module: nn.Module, batches: Iterable[Batch], gradients: Callable[[Batch], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Leave in `module` the mean over all parts of gradients and BatchNorm statistics.

        Every part starts from the statistics that the step started from. What is not finite in one part is not finite
        in the mean. A counter of BatchNorm counts steps, and not parts.

        Args:
            module: the predictor.
            batches: this process's parts, in order.
            gradients: forward and backward of a part; gives its loss and leaves its gradients.

        Returns:
            The step's loss, and above 0 if any process was asked to stop; scalars on the device.
        """
        floating = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        buffers = [*floating, *(buffer for buffer in module.buffers() if not buffer.is_floating_point())]
        start = [buffer.clone() for buffer in buffers]

        def vectors() -> Iterator[Tensor]:
            for batch in batches:
                if buffers:
                    torch._foreach_copy_(buffers, start)
                loss = gradients(batch)
                stop = torch.full_like(loss, float(self.asked_to_stop()))
                values = [*_gradients(module), *floating, loss, stop]
                yield torch.cat([value.detach().flatten().float() for value in values])

        mean = self._sum(tree_sum(vectors())) / self.n
        places = [*_gradients(module), *floating]
        pieces = mean.split([*(place.numel() for place in places), 1, 1])
        # Copied, so that a gradient keeps its layout in memory, along which the fused optimisers walk.
        with torch.no_grad():
            torch._foreach_copy_(places, [p.view(q.shape) for p, q in zip(pieces[:-2], places, strict=True)])
        return pieces[-2][0], pieces[-1][0]

    def _sum(self, vector: Tensor) -> Tensor:
        """The sum of all processes' vectors: the upper part of the same tree, each process adding its own piece."""
        processes = self.processes
        if processes.size == 1:
            return vector
        padded = nn.functional.pad(vector, (0, -len(vector) % processes.size))
        return processes.joined(tree_sum(processes.pieces(padded)))[: len(vector)]


def _gradients(module: nn.Module) -> Sequence[Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


# --- what else the processes of a fold share ------------------------------------------------------------------


def predicted_together(
    predict: Callable[[np.ndarray], np.ndarray], positions: np.ndarray, batch_size: int, processes: Processes
) -> np.ndarray:
    """What `predict` gives for all positions, its batches dealt to the processes in turn.

    Batches are whole: who is in a batch with whom, which decides the last digits, does not depend on the processes.

    Args:
        predict: positions (n,) to values (n, L) float32.
        positions: (N,).
        batch_size: of `predict`.
        processes: all get the same.

    Returns:
        (N, L).
    """
    if processes.size == 1:
        return predict(positions)
    batch = np.arange(len(positions)) // batch_size
    places = [np.flatnonzero(batch % processes.size == rank) for rank in range(processes.size)]
    own = places[processes.rank]
    values = predict(positions[own]) if len(own) else None
    # A process may have no batch at all; the first always has one, and knows how many columns there are.
    width = int(processes.share(b"" if values is None else str(values.shape[1]).encode()))
    padded = np.zeros((len(places[0]), width), np.float32)
    padded[: len(own)] = 0 if values is None else values
    result = np.empty((len(positions), width), np.float32)
    for place, rows in zip(places, processes.gather(padded), strict=True):
        result[place] = rows[: len(place)]
    return result


def refuse_other_weights(processes: Processes, module: nn.Module, epoch: int) -> None:
    """Raise UserError unless all processes hold the same bytes after `epoch` (from 1)."""
    if processes.size == 1:
        return
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    digests = processes.gather(np.frombuffer(digest.digest(), np.uint8))
    if any((other != digests[0]).any() for other in digests):
        raise UserError(f"the processes' weights differ after epoch {epoch}: mixed GPU models or libraries")
