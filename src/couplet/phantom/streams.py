"""Random numbers that stay the same: raw PCG64 words, one stream per thing drawn.

NumPy promises that a bit generator's raw words never change, but not what `Generator` makes of them. The phantom's
file digests are committed, so everything here is made from raw words with exact arithmetic.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import PCG64, SeedSequence
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Stream:
    """Draws that depend on the key alone, so that any one picture can be drawn again without the others.

    >>> Stream(42, 1).uniforms(2).tolist() == Stream(42, 1).uniforms(2).tolist()
    True
    """

    def __init__(self, *key: int) -> None:
        self._words = PCG64(SeedSequence(key))

    def uniforms(self, *shape: int) -> Array:
        """Uniform in [0, 1), with 53 random bits each."""
        words = self._words.random_raw(math.prod(shape))
        return ((words >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)

    def grain(self, height: int, width: int) -> Array:
        """Film grain: mean 0, standard deviation 1, nearly normal (each value is the sum of four random bytes)."""
        n = height * width
        octets = self._words.random_raw((n + 1) // 2).astype("<u8").view(np.uint8)[: 4 * n].reshape(4, n)
        total = octets[0].astype(np.float64)
        for layer in octets[1:]:
            total += layer
        total -= 510.0
        total /= 147.80054  # sqrt(4 * (256 ** 2 - 1) / 12)
        return total.reshape(height, width)
