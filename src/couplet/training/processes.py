"""The processes that share the training of one fold, started by torchrun: who this one is, and what they exchange.

They exchange bytes and numbers alone, never pickled objects. Whatever they must agree on is said by the process of
rank 0, which is also the only one that prints and writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from couplet.project.console import fall_silent
from couplet.project.errors import ProcessError, UserError

TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Processes:
    """One of `size` processes, the one of number `rank`; alone, nothing is exchanged."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    def share(self, content: bytes = b"") -> bytes:
        """What the first process gives, in every process."""
        if self.size == 1:
            return content
        with _collective():
            length = torch.tensor([len(content)])
            dist.broadcast(length, src=0)
            data = torch.zeros(int(length), dtype=torch.uint8)
            if self.first:
                data.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else data)
            dist.broadcast(data, src=0)
        return content if self.first else data.numpy().tobytes()

    def gather(self, values: np.ndarray) -> list[np.ndarray]:
        """Every process's `values`, in order of rank; they must agree in shape and type."""
        if self.size == 1:
            return [values]
        own = torch.from_numpy(np.ascontiguousarray(values))
        everybody = [torch.empty_like(own) for _ in range(self.size)]
        with _collective():
            dist.all_gather(everybody, own)
        return [piece.numpy() for piece in everybody]

    def pieces(self, vector: Tensor) -> Tensor:
        """Of every process's `vector` (n,) the piece that is this one's to add: (size, n / size).

        `size` must divide n; `joined` is the way back.
        """
        received = torch.empty_like(vector)
        with _collective():
            dist.all_to_all_single(received, vector)
        return received.view(self.size, -1)

    def joined(self, piece: Tensor) -> Tensor:
        """All processes' pieces, one after the other: (size * n,) of (n,)."""
        whole = piece.new_empty(self.size * len(piece))
        with _collective():
            dist.all_gather_into_tensor(whole, piece.contiguous())
        return whole


ALONE = Processes()


def join_processes(parts: int, device: str) -> Processes:
    """This process as torchrun started it; ALONE without torchrun.

    Args:
        parts: train.parts, which the processes are to share.
        device: `cpu` or `cuda`; with a GPU, this process takes the one of its number on its host.

    Raises:
        UserError: the processes cannot share the parts, or the host has fewer GPUs than processes.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size == 1:
        return ALONE
    if rank > 0:
        fall_silent()
    if parts == 1:
        raise UserError(
            f"{size} processes need train.parts of at least {size} (it changes the result: BatchNorm sees fewer images)"
        )
    if parts % size:
        possible = [str(2**i) for i in range(parts.bit_length())]
        raise UserError(
            f"{size} processes cannot share train.parts = {parts}: start {', '.join(possible[:-1])} or {possible[-1]}"
        )
    if device == "cuda":
        local = int(os.environ.get("LOCAL_RANK", rank))
        if local >= torch.cuda.device_count():
            raise ProcessError(f"rank {rank} has no GPU: the host has {torch.cuda.device_count()}")
        torch.cuda.set_device(local)
    with _collective():
        # Numbers of the step go from GPU to GPU; whatever else is exchanged is on the host.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
    return Processes(rank, size)


def leave_processes(processes: Processes) -> None:
    """End the exchange."""
    if processes.size > 1:
        dist.destroy_process_group()


@contextmanager
def _collective() -> Iterator[None]:
    """Turn the failure of an exchange into one line: torchrun says which process ended, and how."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0][-300:]
        raise UserError(
            f"another process of this fold ended or cannot be reached ({reason}): run `dvc repro` again, which goes on "
            "from the last checkpoint"
        ) from error


def refuse_other_origin(processes: Processes, origin: Mapping[str, str]) -> None:
    """Raise ProcessError in a process whose code, settings, data or libraries are not those of rank 0.

    Args:
        processes: those that are to train together.
        origin: what the training follows from, by name; the names say what differs.
    """
    if processes.size == 1:
        return
    text = "\n".join(f"{name}\t{value}" for name, value in sorted(origin.items()))
    theirs = dict(line.split("\t", 1) for line in processes.share(text.encode()).decode().split("\n"))
    names = sorted(theirs.keys() | origin.keys())
    other = next((name for name in names if theirs.get(name) != origin.get(name)), None)
    # Everybody learns of it, so that no process goes on into a step that will never be complete.
    refused = [bool(flag[0]) for flag in processes.gather(np.array([other is not None]))]
    if other is not None:
        raise ProcessError(
            f"rank {processes.rank} runs other code than rank 0 ({other}): one checkout for all"
        )
    if any(refused):
        raise UserError(f"rank {refused.index(True)} runs other code than rank 0: one checkout for all")
