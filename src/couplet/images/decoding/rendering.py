"""Stored values of a grey DICOM picture -> grey levels in [0, 255].

Every step (modality LUT, window, inversion, equalisation, padding) maps a stored value to a value, whatever its
place in the picture. So a table of all stored values that occur, at most 65,536, is worked out once, and the picture
is looked up in it. The order of the steps is that of PS3.3, C.11 and C.8.11.3.1.5, and PS3.4, N.2; what the standard
leaves open is read as each function says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from couplet.images.decoding.picture import UnreadableImage
from couplet.settings.schema.image import Rendering


@dataclass(frozen=True)
class Lut:
    """A lookup table (PS3.3, C.11.1.1.1): values below `first` take the first entry, those beyond its end the last."""

    first: int
    bits: int
    entries: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Look up whole numbers of any shape."""
        places = np.rint(values).astype(np.int64) - self.first
        return self.entries[places.clip(0, len(self.entries) - 1)].astype(np.float64)


@dataclass(frozen=True)
class Window:
    """A valid window (PS3.3, C.11.2.1.2 and C.11.2.1.3): width at least 1 (LINEAR), or above 0."""

    center: float
    width: float
    function: str = "LINEAR"

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Values in [0, 255].

        >>> Window(2048, 1024).apply(np.array([0, 1024, 2048, 3072])).round(1).tolist()
        [0.0, 0.0, 127.6, 255.0]
        """
        if self.function == "SIGMOID":
            # Far from the centre the exponential is infinite, and the quotient the 0 that it should be.
            with np.errstate(over="ignore"):
                return 255 / (1 + np.exp(-4 * (values - self.center) / self.width))
        half = 0.5 if self.function == "LINEAR" else 0.0
        if self.width == 2 * half:  # LINEAR of width 1: a threshold
            return np.where(values > self.center - half, 255.0, 0.0)
        shares = (values - (self.center - half)) / (self.width - 2 * half) + 0.5
        return (255 * shares).clip(0, 255)


@dataclass(frozen=True)
class Look:
    """What a header says of how its picture is to be shown.

    Attributes:
        bits: BitsStored.
        signed: whether stored values are.
        slope, intercept: of the rescale; ignored where there is a modality LUT.
        modality: ModalityLUTSequence.
        voi: VOILUTSequence or window; None without a valid one.
        inverted: whether the largest value is black.
        padding: lowest and highest stored value that is no picture.
    """

    bits: int
    signed: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    modality: Lut | None = None
    voi: Lut | Window | None = None
    inverted: bool = False
    padding: tuple[int, int] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether stored values are the grey levels of an 8-bit file as they are."""
        rescaled = (self.slope, self.intercept) != (1, 0) or self.modality is not None
        return self.bits == 8 and not self.signed and not rescaled


def render(stored: np.ndarray, look: Look, rendering: Rendering) -> np.ndarray:
    """Show a picture as `image.dicom` says.

    - voi: VOI LUT, else window, else as minmax; eight plain bits without either are grey levels already, as in a PNG.
    - minmax: from the smallest to the largest value that is no padding.
    - equalize: minmax, rounded down to 8 bits, inverted if need be, then `equalized`.

    Then the inversion, once, and padding to black.

    Args:
        stored: (H, W) whole numbers.
        look: what the header says.
        rendering: `image.dicom`.

    Returns:
        (H, W) uint8 where the grey levels are whole numbers, else float32 in [0, 255].

    Raises:
        UnreadableImage: values after the rescale are not finite, or one grey level is left.
    """
    low, high = int(stored.min()), int(stored.max())
    if high - low >= 2**16:
        raise UnreadableImage(f"its stored values have more than {look.bits} bits")
    levels = np.arange(low, high + 1)
    places = stored.astype(np.int32) - low if stored.dtype.kind == "i" else stored - stored.dtype.type(low)
    counts = np.bincount(places.ravel(), minlength=len(levels))
    table = grey_table(levels, counts, look, rendering)
    if len(np.unique(table[counts > 0])) < 2:
        raise UnreadableImage("the picture has one grey level only")
    whole = np.rint(table)
    # A window of 256 around 128 is no change; computed in fractions, it is one of 1e-14.
    if np.abs(table - whole).max() < 1e-6:
        return whole.astype(np.uint8)[places]
    return table.astype(np.float32)[places]


def grey_table(levels: np.ndarray, counts: np.ndarray, look: Look, rendering: Rendering) -> np.ndarray:
    """Grey level of each stored value, in [0, 255].

    Args:
        levels: (n,) stored values, ascending by one.
        counts: (n,) how many pixels have each.
        look: what the header says.
        rendering: `image.dicom`.
    """
    padded = np.zeros(len(levels), bool)
    if look.padding:
        padded = (levels >= look.padding[0]) & (levels <= look.padding[1])
    counts = np.where(padded, 0, counts)
    if not counts.any():
        return np.zeros(len(levels))
    values = _rescaled(levels, look)
    if rendering != "voi" or (look.voi is None and not look.is_plain):
        grey = _stretched(values, counts)
    elif isinstance(look.voi, Window):
        grey = look.voi.apply(values)
    elif isinstance(look.voi, Lut):
        grey = look.voi.apply(values) * (255 / (2**look.voi.bits - 1))
    else:
        grey = values
    if rendering == "equalize":
        grey = np.floor(grey + 1e-9)  # a rescale by fractions leaves 254.99999999999997
    if look.inverted:
        grey = 255 - grey
    if rendering == "equalize":
        whole = grey.astype(np.int64)
        grey = equalized(np.bincount(whole, weights=counts, minlength=256))[whole]
    return np.where(padded, 0, grey.clip(0, 255))


def equalized(histogram: np.ndarray) -> np.ndarray:
    """(256,) the grey level that each becomes by histogram equalisation, as OpenCV's `equalizeHist` defines it.

    With h the histogram, H its cumulative sum and v0 the first level that occurs, level v becomes
    round((H(v) - h(v0)) * 255 / (H(255) - h(v0))), and 0 below v0; halves are rounded to the even number.
    If only one level occurs, it stays.

    Args:
        histogram: (256,) number of pixels of each grey level.
    """
    first = int(np.argmax(histogram > 0))
    total = histogram.sum() - histogram[first]
    if total == 0:
        return np.full(256, float(first))
    return np.rint((np.cumsum(histogram) - histogram[first]).clip(0) * (255 / total))


def _rescaled(levels: np.ndarray, look: Look) -> np.ndarray:
    if look.modality is not None:
        return look.modality.apply(levels)
    with np.errstate(all="ignore"):
        values = levels * look.slope + look.intercept
    if not (math.isfinite(look.slope) and math.isfinite(look.intercept) and np.isfinite(values).all()):
        raise UnreadableImage("its rescaled values are not finite")
    return values


def _stretched(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    used = values[counts > 0]
    low, high = used.min(), used.max()
    if low == high:
        return np.zeros(len(values))
    return ((values - low) * 255 / (high - low)).clip(0, 255)
