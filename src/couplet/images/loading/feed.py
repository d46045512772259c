"""Batches of stored images on the device, read ahead of the compute."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from couplet.images.loading.store import ImageStore

READ_AHEAD = 3


def image_batches(
    store: ImageStore, positions: np.ndarray, batch_size: int, device: torch.device
) -> Iterator[torch.Tensor]:
    """Yield uint8 (B, C, S, S) tensors on `device`, in the order of `positions`; the last may be short."""
    chunks = [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]
    if device.type == "cuda":
        yield from _overlapped(store, chunks, device)
    else:
        yield from _read_ahead(store, chunks)


def _read_ahead(store: ImageStore, chunks: list[np.ndarray]) -> Iterator[torch.Tensor]:
    """Read in a thread, so that the compute does not wait for a disk or for JPEGs to be decoded."""
    pending: deque[Future[np.ndarray]] = deque()
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        try:
            for chunk in chunks:
                pending.append(reader.submit(store.read, chunk))
                if len(pending) > READ_AHEAD:
                    yield torch.from_numpy(pending.popleft().result())
            while pending:
                yield torch.from_numpy(pending.popleft().result())
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


def _overlapped(store: ImageStore, chunks: list[np.ndarray], device: torch.device) -> Iterator[torch.Tensor]:
    """Read, pin and copy in a thread with a stream of its own while the device computes."""
    ready: queue.Queue[tuple[torch.Tensor, torch.cuda.Event] | BaseException | None] = queue.Queue(READ_AHEAD)
    stop = threading.Event()
    stream = torch.cuda.Stream(device)

    def offer(item: tuple[torch.Tensor, torch.cuda.Event] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def read_ahead() -> None:
        try:
            for chunk in chunks:
                if stop.is_set():
                    return
                pinned = torch.from_numpy(store.read(chunk)).pin_memory()
                with torch.cuda.stream(stream):
                    images = pinned.to(device, non_blocking=True)
                    copied = torch.cuda.Event()
                    copied.record(stream)
                offer((images, copied))
            offer(None)
        except BaseException as error:  # handed to the consumer, which raises it
            offer(error)

    thread = threading.Thread(target=read_ahead, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            images, copied = item
            current = torch.cuda.current_stream(device)
            current.wait_event(copied)
            images.record_stream(current)  # its memory is not reused while this stream still reads it
            yield images
    finally:
        stop.set()
        thread.join()
