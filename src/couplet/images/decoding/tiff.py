"""What Pillow does not do for TIFF: white that is zero, missing strips, byte order, and libtiff's own messages.

Tags and their values are those of TIFF 6.0.
"""

from __future__ import annotations

import ctypes
import io
import logging
import math
import sys
from functools import cache
from itertools import repeat

import numpy as np
from PIL import Image, TiffImagePlugin

from couplet.images.decoding.jpeg import load_whole

BITS, PHOTOMETRIC, SAMPLES, ROWS, PLANAR, FORMAT = 258, 262, 277, 278, 284, 339
STRIPS, STRIP_BYTES, TILES, TILE_BYTES, TILE_WIDTH, TILE_LENGTH = 273, 279, 324, 325, 322, 323
JPEG_TABLES = 347
WHITE_IS_ZERO, SEPARATE, UNSIGNED, SIGNED = 0, 2, 1, 2
# libtiff has brought the samples of a big-endian file into the machine's order when Pillow unpacks them.
NATIVE = {"I;16BS": "I;16S", "I;32BS": "I;32S", "F;32BF": "F;32F"} if sys.byteorder == "little" else {}


@cache
def silence_libtiff() -> None:
    """Keep libtiff from writing to stderr, where its lines name no file; what went wrong is in Pillow's error.

    Its handler is one for the whole process, so that catching what one thread's file makes it write is not
    possible. Where Pillow carries a libtiff that cannot be reached, the lines stay.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    try:
        handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):
        return
    handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    handler(None)


def prepare_tiff(image: TiffImagePlugin.TiffImageFile, content: bytes) -> None:
    """Check an opened TIFF, and correct how Pillow is about to unpack it.

    Raises:
        ValueError: a part of the pixels is missing, or they lie in a way that Pillow misreads.
    """
    silence_libtiff()
    tags = image.tag_v2
    bits = tags.get(BITS, (1,))
    if tags.get(PLANAR, 1) == SEPARATE and tags.get(SAMPLES, 1) > 1 and max(bits) > 8:
        raise ValueError("colours of more than 8 bits in separate planes are not supported: save it as PNG")
    if image.info["compression"] == "raw":
        _require_strips(image, len(content))
    if image.info["compression"] == "jpeg":
        _require_whole_jpegs(image, content)
    image.tile = [
        tile._replace(args=(NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:]))
        if tile.codec_name == "libtiff" and isinstance(tile.args, tuple)
        else tile
        for tile in image.tile
    ]


def as_meant(image: Image.Image) -> np.ndarray | None:
    """(H, W) values of a loaded grey TIFF whose bits Pillow takes for another type, or None."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits, kind = image.tag_v2.get(BITS, (1,))[0], image.tag_v2.get(FORMAT, (1,))[0]
        if image.mode == "I" and (bits, kind) == (32, UNSIGNED):
            return np.asarray(image).view(np.uint32)
        if image.mode == "L" and (bits, kind) == (8, SIGNED):
            return np.asarray(image).view(np.int8)
    return None


def white_is_zero(image: Image.Image) -> bool:
    """Whether a loaded TIFF of more than 8 bits is still a negative: Pillow turns only up to 8 bits around."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return bool(image.tag_v2.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO)


def _parts(tags: TiffImagePlugin.ImageFileDirectory_v2) -> tuple[list[int], list[int]]:
    """Where the strips or tiles begin, and how many bytes they have (0: not said)."""
    offsets = tags.get(STRIPS, tags.get(TILES, ()))
    counts = tags.get(STRIP_BYTES, tags.get(TILE_BYTES, ()))
    return list(offsets), [*counts, *repeat(0, len(offsets) - len(counts))]


def _require_strips(image: TiffImagePlugin.TiffImageFile, length: int) -> None:
    """Pillow leaves black what no strip covers, and fills a short strip with whatever follows in the file."""
    tags = image.tag_v2
    bits, samples = tags.get(BITS, (1,)), tags.get(SAMPLES, 1)
    planes = samples if tags.get(PLANAR, 1) == SEPARATE else 1
    pixel_bits = (sum(bits) if len(bits) == samples else bits[0] * samples) // planes
    width, height = tags[256], tags[257]
    if STRIPS in tags:
        rows = min(tags.get(ROWS, height), height)
        n_parts = math.ceil(height / rows)
        needed = [math.ceil(width * pixel_bits / 8) * min(rows, height - i * rows) for i in range(n_parts)]
    else:
        tile_width, tile_length = tags[TILE_WIDTH], tags[TILE_LENGTH]
        n_parts = math.ceil(width / tile_width) * math.ceil(height / tile_length)
        needed = [math.ceil(tile_width * pixel_bits / 8) * tile_length] * n_parts
    offsets, counts = _parts(tags)
    whole = len(offsets) >= n_parts * planes and all(
        offset and offset + n <= length and (count == 0 or count >= n)
        for offset, count, n in zip(offsets, counts, needed * planes, strict=False)
    )
    if not whole:
        raise ValueError("image file is truncated: some of its rows are missing")


def _require_whole_jpegs(image: TiffImagePlugin.TiffImageFile, content: bytes) -> None:
    """Each strip or tile is a JPEG without its tables; libtiff fills with grey what is missing of one."""
    tables = image.tag_v2.get(JPEG_TABLES, b"\xff\xd8\xff\xd9")
    for offset, count in zip(*_parts(image.tag_v2), strict=True):
        stream = tables[:-2] + content[offset : offset + count][2:]
        with Image.open(io.BytesIO(stream), formats=("JPEG",)) as part:
            part.draft(part.mode, (1, 1))  # at an eighth of the size all of it is still decoded
            load_whole(part, stream)
