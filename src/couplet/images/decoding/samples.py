"""Samples of more than 8 bits -> 8 bits, by the depth that they use and not the one that holds them."""

from __future__ import annotations

import io
import sys

import numpy as np
from PIL import Image, ImageFile

# Bits per sample that detectors and their exports use; see `to_eight_bits`.
DEPTHS = (8, 10, 12, 14, 16)
# Pillow keeps the upper byte of 16-bit colour. Read as if the bytes stood the other way round, it gives the lower.
NATIVE = "L" if sys.byteorder == "little" else "B"
SWAPPED = {"L": "B", "B": "L"}
# Kind of samples -> how many of them, the image that eight bits of each make, and whether the last is opacity.
WIDE = {"RGB": (3, "RGB"), "RGBX": (3, "RGB"), "RGBA": (4, "RGBA"), "RGBa": (4, "RGB"), "CMYK": (4, "CMYK")}


def to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Samples of more than 8 bits -> float32 in [0, 255].

    Whole numbers are scaled by the smallest usual depth that holds their maximum: 16-bit X-ray files mostly
    carry 10, 12 or 14 bits without saying so, and the range of the container would leave them black. Unlike a
    stretch from minimum to maximum it keeps two exposures comparable. Fractions within [0, 1] are taken by
    that range. Anything else (negative or larger values) has no scale of its own and is stretched from
    minimum to maximum.

    Args:
        values: any shape; one scale for all of it.

    Raises:
        ValueError: a value is not finite.

    >>> to_eight_bits(np.array([0, 1023, 4095], np.uint16)).astype(int).tolist()
    [0, 63, 255]
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("the image has values that are not finite")
    scaled = values.astype(np.float32)
    if low < 0 or high >= 2 ** DEPTHS[-1]:
        return (scaled - np.float32(low)) * np.float32(255 / max(high - low, 1e-12))
    if values.dtype.kind == "f" and high <= 1:
        return scaled * np.float32(255)
    depth = next(bits for bits in DEPTHS if high < 2**bits)
    return scaled * np.float32(255 / (2**depth - 1))


def read_wide(image: ImageFile.ImageFile, content: bytes) -> Image.Image | None:
    """Read an opened PNG or TIFF of 16-bit colour, or grey with opacity, in 8 bits a sample.

    Colours share one scale (`to_eight_bits`); opacity has its own.

    Returns:
        None if it is of another kind, and Pillow reads all of its bits.
    """
    args = image.tile[0].args if image.tile else None
    kind, _, depth = str(args[0] if isinstance(args, tuple) else args).partition(";")
    if image.format not in ("PNG", "TIFF") or not depth.startswith("16"):
        return None
    if kind == "LA":  # two samples of two bytes look like four of one
        parts = _samples(content, "RGBA").astype(np.uint16)
        return _in_eight_bits(parts[..., 0::2] << 8 | parts[..., 1::2], "LA", 2, None)
    if kind not in WIDE:
        return None
    n, mode = WIDE[kind]
    order = NATIVE if depth == "16N" else depth[2:]
    # Colours that were multiplied with their opacity are as if on black, as all transparent images here.
    kind = "RGBA" if kind == "RGBa" else kind
    upper, lower = (_samples(content, f"{kind};16{end}").astype(np.uint16) for end in (order, SWAPPED[order]))
    return _in_eight_bits(upper << 8 | lower, mode, n, image.info.get("transparency"))


def _samples(content: bytes, rawmode: str) -> np.ndarray:
    """(H, W, samples) bytes, unpacked as `rawmode` says."""
    with Image.open(io.BytesIO(content), formats=("PNG", "TIFF")) as image:
        image.tile = [
            tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
            for tile in image.tile
        ]
        return np.asarray(image)


def _in_eight_bits(values: np.ndarray, mode: str, n: int, transparent: object) -> Image.Image:
    """An image of `mode` from (H, W, n) 16-bit samples; pixels of the transparent colour become black."""
    n_colours = len(mode.rstrip("A")) if mode != "CMYK" else 4
    pixels = np.empty((*values.shape[:2], len(mode)), np.uint8)
    pixels[..., :n_colours] = np.rint(to_eight_bits(values[..., :n_colours]))
    if mode.endswith("A"):
        pixels[..., -1] = np.rint(to_eight_bits(values[..., n - 1]))
    if isinstance(transparent, tuple):
        pixels[(values[..., : len(transparent)] == transparent).all(axis=-1)] = 0
    return Image.fromarray(pixels, mode)


def require_upper_bits(image: Image.Image, content: bytes) -> None:
    """Refuse a loaded image whose samples of more than 8 bits Pillow cut to 8, if these hold next to nothing.

    Raises:
        ValueError: the two upper bits of all colours are empty, as with 12 bits in a container of 16.
    """
    if image.mode not in ("LA", "RGB", "RGBA") or (depth := _declared_depth(image, content)) <= 8:
        return
    highest = max(high for _, high in image.convert("RGB").getextrema())  # type: ignore[misc]
    if highest <= 64:  # 14 of 16 bits, rounded up
        raise ValueError(
            f"{image.format} colour of {depth} bits a sample is read by its upper 8 bits, and these are nearly "
            "empty here: save it as 16-bit PNG or TIFF"
        )


def _declared_depth(image: Image.Image, content: bytes) -> int:
    """Bits per sample of JPEG 2000 and PPM."""
    if image.format == "JPEG2000":
        start = content.find(b"\xff\x4f\xff\x51")  # the code stream and its SIZ marker (ITU-T T.800, A.5.1)
        return (content[start + 42] & 127) + 1 if 0 <= start < len(content) - 42 else 8
    if image.format == "PPM":
        words = b" ".join(line.partition(b"#")[0] for line in content[:2000].splitlines()).split()
        return int(words[3]).bit_length() if len(words) > 3 and words[3].isdigit() else 8
    return 8
