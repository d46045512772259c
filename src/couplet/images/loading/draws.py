"""Random draws that depend only on (seed, repeat, fold, epoch, image_id).

Not on the batch, the order, the number of workers or where a run was resumed. There is no generator whose
state moves on: draw j of an image is a hash of its key, the stream (seed, repeat, fold, epoch) and j. The hash is
splitmix64's output function (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators");
in whole numbers, so that it gives the same everywhere, which NumPy's generators do not promise across
versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def image_keys(image_ids: Iterable[str]) -> np.ndarray:
    """One uint64 key per image id (N,), the same in every run.

    >>> image_keys(["a", "b", "a"]).tolist()
    [3405396810240292928, 8453121595177857668, 3405396810240292928]
    """
    return np.array([_digest(image_id) for image_id in image_ids], dtype=np.uint64)


def uniforms(
    keys: np.ndarray,
    seed: int,
    fold: int,
    epoch: int,
    n_draws: int,
    repeat: int = 0,
    stream: str = "views",
) -> np.ndarray:
    """Uniform draws for a batch of images in one epoch.

    Args:
        keys: (B,) from `image_keys`.
        seed: of the run.
        fold: its number.
        epoch: counted from 0.
        n_draws: how many draws per image; the first ones do not depend on it.
        repeat: of the training with this seed (train.repeat).
        stream: what the draws are for; those of two streams have nothing to do with each other.

    Returns:
        (B, n_draws) float64 in [0, 1), multiples of 2**-53.
    """
    start = _mix(np.asarray(keys, dtype=np.uint64) ^ _stream(stream, seed, fold, epoch, repeat))
    steps = np.arange(1, n_draws + 1, dtype=np.uint64) * _GOLDEN
    return (_mix(start[:, None] + steps) >> np.uint64(11)) * 2.0**-53


def taught(keys: np.ndarray, seed: int, fold: int, epoch: int, share: float, repeat: int = 0) -> np.ndarray:
    """Which images tell their true labels in an epoch (refiner.teach): (B,) bool, each true with probability `share`.

    >>> taught(image_keys(["a", "b", "c", "d"]), seed=42, fold=0, epoch=0, share=0.5).tolist()
    [False, False, False, True]
    """
    return uniforms(keys, seed, fold, epoch, 1, repeat, stream="teach")[:, 0] < share


def epoch_order(n: int, seed: int, fold: int, epoch: int, repeat: int = 0) -> np.ndarray:
    """The order of n images in one epoch: a permutation of 0 .. n-1, int64.

    >>> sorted(epoch_order(5, seed=42, fold=0, epoch=0).tolist())
    [0, 1, 2, 3, 4]
    """
    steps = np.arange(1, n + 1, dtype=np.uint64) * _GOLDEN
    return np.argsort(_mix(_stream("order", seed, fold, epoch, repeat) + steps), kind="stable")


def boosted(weights: np.ndarray, u: float) -> np.ndarray:
    """Which of n images come in an epoch of n turns, drawn in proportion to their weights: rows (n,), ascending.

    Systematic resampling: the turns are the places (j + u) / n on the cumulated shares of the weights, so that image i
    comes floor or ceil of n w_i / sum(w) times, and equal weights give every image once.

    Args:
        weights: (n,), none negative; all 0 counts as all equal.
        u: in [0, 1).

    >>> boosted(np.array([1, 1, 2, 4, 0.5]), 0.3).tolist()
    [0, 2, 2, 3, 3]
    """
    n, largest = len(weights), weights.max()
    # In whole numbers sums are exact: rounding would give an image of weight exactly 1 none or two of its turns.
    whole = np.rint(weights / largest * 2**30).astype(np.int64) if largest > 0 else np.ones(n, dtype=np.int64)
    ends = np.cumsum(whole)
    turns = (np.arange(n) + np.floor(u * 2**20) / 2**20) * (ends[-1] / n)
    return np.searchsorted(ends, turns, side="right")


def turn_keys(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The keys of the images in these ascending rows; a second turn of the same image has another key, and so a view.

    >>> turn_keys(image_keys(["a", "b"]), np.array([0, 1, 1])).tolist() == image_keys(["a", "b", "b"]).tolist()
    False
    """
    copies = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return keys[rows] + copies.astype(np.uint64) * _GOLDEN


def weights_seed(seed: int | Sequence[int], repeat: int = 0) -> int:
    """The seed of a predictor's initial weights.

    Args:
        seed: a number or several, such as (seed, fold).
        repeat: of the training with this seed (train.repeat).
    """
    # Spawn keys, since SeedSequence is equal for equal numbers one after the other, wherever they come from: (1,) for
    # weights and a fifth number for dropout would make weights of repeat 0 and dropout of repeat 1 one stream.
    return _drawn(seed, (1, repeat) if repeat else (1,))


def dropout_seed(
    seed: int, fold: int, epoch: int, batch: int, repeat: int = 0, part: int | None = None
) -> int:
    """The seed of one step's dropout, or of one part's of a step that is made of parts (train.parts)."""
    # (3, part, repeat) and not a fifth number, which would make part 1's dropout of the first step the stream of the
    # initial weights (see above).
    if part is not None:
        return _drawn((seed, fold, epoch, batch), (3, part, repeat))
    return _drawn((seed, fold, epoch, batch), (2, repeat) if repeat else ())


def _drawn(entropy: int | Sequence[int], spawn_key: tuple[int, ...]) -> int:
    return int(np.random.SeedSequence(entropy, spawn_key=spawn_key).generate_state(1, np.uint64)[0])


def _stream(what: str, seed: int, fold: int, epoch: int, repeat: int) -> np.uint64:
    """Repeat 0 has the name that streams had before there were repeats: its draws are the same."""
    named = f"{what} {seed} {fold} {epoch}"
    return np.uint64(_digest(f"{named} {repeat}" if repeat else named))


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(x: np.ndarray) -> np.ndarray:
    """splitmix64's output function; arithmetic is modulo 2**64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
