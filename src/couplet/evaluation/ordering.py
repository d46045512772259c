"""Sorting scores and counting names, which is most of the work of a rank statistic; the results are those of NumPy.

NumPy's vectorised sort of 64-bit numbers takes 0.4 ms for 48,000 of them on some processors and 1.7 ms, as much as
without vectors, on others (AMD Zen 4 with AVX-512). Here the 16 leading bits are sorted first, by NumPy's radix sort;
of numbers that are nearly in order its merge sort is quick, on every processor.
"""

from __future__ import annotations

import numpy as np

LEADING = 16  # bits; NumPy sorts numbers of no more of them digit by digit


def order_codes(score: np.ndarray) -> np.ndarray:
    """int64 below 2^62 in size that are ordered, and equal, exactly as the scores are.

    Args:
        score: of any shape, finite.

    >>> order_codes(np.array([0.5, -0.0, 0.5, 0.0, -1.0])).argsort(kind="stable").tolist()
    [4, 1, 3, 0, 2]
    """
    # The bits of a positive float, read as an integer, have its order. Counting from the smallest makes room.
    size = np.abs(np.ascontiguousarray(score, dtype=np.float64)).view(np.int64)
    if (score >= 0).all() and size.max(initial=0) < 2**62:
        return size
    size = np.where(size > 0, size - size[size > 0].min() + 1, 0)
    if size.max() < 2**62:
        return np.where(score < 0, -size, size)
    return np.unique(score, return_inverse=True)[1].reshape(score.shape)  # spans over 300 decimal powers


def order_of(keys: np.ndarray) -> np.ndarray:
    """(n,) places of int64 keys (n,) in rising order, equal ones as they stand: np.argsort(keys, kind="stable").

    >>> order_of(np.array([7, -2, 7, 0])).tolist()
    [1, 3, 0, 2]
    """
    leading, whole = _leading(keys)
    order = np.argsort(leading, kind="stable")
    return order if whole else order[np.argsort(keys[order], kind="stable")]


def ascending(keys: np.ndarray) -> np.ndarray:
    """int64 keys (n,) in rising order: np.sort(keys)."""
    leading, whole = _leading(keys)
    nearly = keys[np.argsort(leading, kind="stable")]
    return nearly if whole else np.sort(nearly, kind="stable")


def codes(names: np.ndarray) -> np.ndarray:
    """(n,) a number from 0 on for each name, in their sorted order.

    >>> codes(np.array(["b", "a", "b"])).tolist(), codes(np.array([7, 3, 7])).tolist()
    ([1, 0, 1], [1, 0, 1])
    """
    names = np.asarray(names)
    if not _few_numbers(names):
        return np.unique(names, return_inverse=True)[1]
    return (np.cumsum(np.bincount(names) > 0) - 1)[names]


def n_different(names: np.ndarray) -> int:
    """How many different names there are.

    >>> n_different(np.array([7, 3, 7])), n_different(np.array(["a"])), n_different(np.array([]))
    (2, 1, 0)
    """
    names = np.asarray(names)
    return int(np.count_nonzero(np.bincount(names))) if _few_numbers(names) else len(np.unique(names))


def _leading(keys: np.ndarray) -> tuple[np.ndarray, bool]:
    """The 16 leading bits of the keys' distance from the smallest, and whether these are all there are."""
    if not len(keys):
        return keys.astype(np.uint16), True
    low = keys.min()
    shift = max((int(keys.max()) - int(low)).bit_length() - LEADING, 0)
    # A difference of up to 2^64 wraps around and is right as a number without a sign.
    return ((keys - low).view(np.uint64) >> np.uint64(shift)).astype(np.uint16), shift == 0


def _few_numbers(names: np.ndarray) -> bool:
    """Whether the names are whole numbers from 0, none of them far above their count: then they are counted."""
    if names.ndim != 1 or names.dtype.kind not in "iu" or not len(names):
        return False
    return bool(names.min() >= 0 and names.max() < 16 * len(names) + 1024)
