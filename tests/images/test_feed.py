from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from couplet.images.loading.feed import READ_AHEAD, image_batches
from couplet.images.loading.store import ImageStore
from couplet.project.errors import UserError
from tests.support.stores import write_store

CPU = torch.device("cpu")
N = 50


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    """Image i is all i."""
    images = np.repeat(np.arange(N, dtype=np.uint8), 16).reshape(N, 1, 4, 4)
    return write_store(tmp_path, images)


@pytest.mark.parametrize("n", [0, 1, 4, 7, N])
def test_batches_come_in_the_order_that_was_asked_for(store: ImageStore, n: int) -> None:
    positions = np.random.default_rng(0).permutation(N)[:n]
    batches = list(image_batches(store, positions, 4, CPU))
    assert [len(batch) for batch in batches] == [4] * (n // 4) + [n % 4] * (n % 4 > 0)
    seen = [int(image[0, 0, 0]) for batch in batches for image in batch]
    assert seen == positions.tolist()


def test_reading_stays_a_few_batches_ahead(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = store.read
    monkeypatch.setattr(store, "read", lambda chunk: reads.append(len(chunk)) or read(chunk))
    batches = image_batches(store, np.arange(N), 2, CPU)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(reads) <= READ_AHEAD + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_a_shard_that_cannot_be_read_is_said_where_the_batch_is_asked_for(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store.read

    def broken(chunk: np.ndarray) -> np.ndarray:
        if 20 in chunk:
            raise UserError("images-00000.npy is truncated")
        return read(chunk)

    monkeypatch.setattr(store, "read", broken)
    batches = image_batches(store, np.arange(N), 4, CPU)
    assert [len(next(batches)) for _ in range(5)] == [4] * 5
    with pytest.raises(UserError, match="truncated"):
        next(batches)
