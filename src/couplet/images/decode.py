"""One image file -> one square uint8 array, quickly, or the reason why not.

A JPEG is decoded at a reduced scale (`draft`) that is still at least twice the wanted size, and as grey where
grey is wanted: half the time of a full decode for grey files, a third or less for colour ones. The result is
within 3 grey levels of it; more only in the outermost pixel and around burnt-in letters.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from PIL import Image, features

# Sniffed from the content, whatever the extension says. Formats that run programs (EPS) stay out.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
# From here on Pillow refuses by itself; from half of it on it would warn, on every worker's stderr.
MAX_PIXELS = 178_956_970
# More than an image of that many pixels takes, uncompressed and with 16 bits a channel: such a file is not opened.
MAX_BYTES = 2**30
# Bits per sample that detectors and their exports use; see `_to_eight_bits`.
DEPTHS = (8, 10, 12, 14, 16)

ORIENTATION = 0x0112  # EXIF tag: 1 is upright, the others say how to turn the pixels
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(Exception):
    """The file is not an image that can be decoded; the text says why, the same on every machine."""


def fingerprint() -> str:
    """A digest of what decides the pixels besides the file: this code and the libraries under it."""
    libraries = (
        f"Pillow {PIL.__version__}, libjpeg {features.version('libjpeg_turbo')} {features.version('jpg')}"
    )
    return hashlib.sha256(Path(__file__).read_bytes() + libraries.encode()).hexdigest()


def decode(path: Path, size: int, channels: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode the file at `path`; see `decode_bytes`.

    Raises:
        UnreadableImage: the content is not a complete image.
        OSError: the file itself cannot be read.
    """
    return decode_bytes(path.read_bytes(), size, channels)


def decode_bytes(content: bytes, size: int, channels: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode an image file's content and squash it to a square.

    Upright as its EXIF orientation says; the first frame of an animation; what is transparent becomes black.
    The resize is antialiased and bilinear: its weights are never negative, so sharp edges (burnt-in letters,
    wires) get no halo, and the evaluation view resizes in the same way.

    Args:
        content: the whole file.
        size: side S of the result, in pixels.
        channels: 1 for luminance (ITU-R 601), 3 for RGB (a grey image gives three equal channels).

    Returns:
        uint8 (C, S, S) and the (width, height) of the original as it is shown.

    Raises:
        UnreadableImage: the content is not a complete image.

    >>> file = io.BytesIO()
    >>> Image.new("RGB", (40, 20), (255, 0, 0)).save(file, "PNG")
    >>> pixels, shape = decode_bytes(file.getvalue(), size=2, channels=1)
    >>> pixels.tolist(), shape
    ([[[76, 76], [76, 76]]], (40, 20))
    """
    mode = "L" if channels == 1 else "RGB"
    loaded = _load(content, mode, draft_size=2 * size)
    image = _plain(loaded.image, mode).resize((size, size), Image.Resampling.BILINEAR, loaded.box)
    if loaded.turn in TURNS:
        image = image.transpose(TURNS[loaded.turn])
    pixels = np.asarray(image)
    if image.mode == "F":
        pixels = np.rint(pixels).clip(0, 255).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], channels, axis=2)
    width, height = loaded.size
    shape = (height, width) if loaded.turn >= 5 else (width, height)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), shape


class _Loaded(NamedTuple):
    image: Image.Image
    size: tuple[int, int]  # width and height of the original
    box: tuple[float, float, float, float]  # where the original lies in `image`
    turn: int  # the EXIF orientation that is still to be applied


def _load(content: bytes, mode: str, draft_size: int) -> _Loaded:
    if not content:
        raise UnreadableImage("the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            size = image.size
            if size[0] * size[1] > MAX_PIXELS:
                raise Image.DecompressionBombError
            # At a scale of 1/8, 97 pixels become 13, the last mostly padding: the box ends at 97 / 8.
            drafted = image.draft(mode, (draft_size, draft_size))
            box = drafted[1] if drafted else (0, 0, *size)
            image.load()
    except Image.DecompressionBombError:
        raise UnreadableImage(f"the image has more than {MAX_PIXELS} pixels") from None
    except Image.UnidentifiedImageError:
        raise UnreadableImage(f"the file is no image of a known format ({', '.join(FORMATS)})") from None
    except MemoryError:
        raise  # says something about this machine, not about the file
    except Exception as error:  # Pillow's parsers raise nearly anything on damaged input
        raise UnreadableImage(_stable_text(error)) from None
    try:
        # After load(), in which Pillow turns a TIFF by itself and takes the tag away.
        turn = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF data; the pixels are good
        turn = 1
    return _Loaded(image, size, box, turn if turn in TURNS else 1)


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Any mode -> `mode` (L or RGB), or F with values from 0 to 255 for samples of more than 8 bits."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_eight_bits(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        opaque, alpha = image.convert("RGB"), image.getchannel("A")
        # Many grey X-rays merely carry an alpha channel of 255 everywhere.
        solid = alpha.getextrema() == (255, 255)
        image = opaque if solid else Image.composite(opaque, Image.new("RGB", image.size), alpha)
    try:
        return image.convert(mode)
    except ValueError:
        raise UnreadableImage(f"pixels of the kind {image.mode} are not supported") from None


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Samples of more than 8 bits -> float32 in [0, 255].

    Whole numbers are scaled by the smallest usual depth that holds their maximum: 16-bit X-ray files mostly
    carry 10, 12 or 14 bits without saying so, and the range of the container would leave them black. Unlike a
    stretch from minimum to maximum it keeps two exposures comparable. Fractions within [0, 1] are taken by
    that range. Anything else (negative or larger values) has no scale of its own and is stretched from
    minimum to maximum.

    >>> _to_eight_bits(np.array([0, 1023, 4095], np.uint16)).astype(int).tolist()
    [0, 63, 255]
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise UnreadableImage("the image has values that are not finite")
    scaled = values.astype(np.float32)
    if low < 0 or high >= 2 ** DEPTHS[-1]:
        return (scaled - np.float32(low)) * np.float32(255 / max(high - low, 1e-12))
    if values.dtype.kind == "f" and high <= 1:
        return scaled * np.float32(255)
    depth = next(bits for bits in DEPTHS if high < 2**bits)
    return scaled * np.float32(255 / (2**depth - 1))


def _stable_text(error: Exception) -> str:
    """An error's text without memory addresses, which differ from run to run."""
    text = re.sub(r"<[^>]*>|0x[0-9a-fA-F]+", "...", " ".join(str(error).split()))
    return text or f"the image cannot be decoded ({type(error).__name__})"
