"""One image file -> one square uint8 array, quickly, or the reason why not.

A JPEG is decoded at a reduced scale (`draft`) that is still at least twice the wanted size, and as grey where
grey is wanted: half the time of a full decode for grey files, a third or less for colour ones. The result is
within 3 grey levels of it; more only in the outermost pixel and around burnt-in letters.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from PIL import Image, ImageFile, TiffImagePlugin, features

from couplet.images.decoding.foreign import describe
from couplet.images.decoding.jpeg import load_whole
from couplet.images.decoding.picture import (
    DICOM_ENDINGS,
    INSTALL,
    MissingExtra,
    Picture,
    UnreadableImage,
    UnsuitableImage,
)
from couplet.images.decoding.samples import read_wide, require_upper_bits, to_eight_bits
from couplet.images.decoding.tiff import as_meant, prepare_tiff, silence_libtiff, white_is_zero
from couplet.settings.schema.image import Rendering

# Sniffed from the content, whatever the extension says. Formats that run programs (EPS) stay out.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
# From here on Pillow refuses by itself; from half of it on it would warn, on every worker's stderr.
MAX_PIXELS = 178_956_970
# More than an image of that many pixels takes, uncompressed and with 16 bits a channel: such a file is not opened.
MAX_BYTES = 2**30
# The code besides this file that decides the pixels.
PARTS = ("foreign.py", "jpeg.py", "picture.py", "samples.py", "tiff.py")
NO_PREAMBLE = "no DICOM preamble: rewrite the file with dcmconv"
__all__ = ["MissingExtra", "Picture", "UnreadableImage", "UnsuitableImage", "decode_bytes", "decode_picture"]

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


def fingerprint() -> str:
    """A digest of what decides the pixels besides the file: this code and the libraries under it."""
    libraries = (
        f"Pillow {PIL.__version__}, libjpeg {features.version('libjpeg_turbo')} {features.version('jpg')}"
    )
    code = b"".join(Path(__file__).with_name(name).read_bytes() for name in (Path(__file__).name, *PARTS))
    return hashlib.sha256(code + libraries.encode()).hexdigest()


def decode(path: Path, size: int, channels: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode the file at `path`; see `decode_bytes`.

    Raises:
        UnreadableImage: the content is not a complete image.
        OSError: the file itself cannot be read.
    """
    return decode_bytes(path.read_bytes(), size, channels)


def decode_bytes(content: bytes, size: int, channels: int) -> tuple[np.ndarray, tuple[int, int]]:
    """`decode_picture` for files of which nothing but the pixels is wanted.

    Returns:
        uint8 (C, S, S) and the (width, height) of the original as it is shown.

    >>> file = io.BytesIO()
    >>> Image.new("RGB", (40, 20), (255, 0, 0)).save(file, "PNG")
    >>> pixels, shape = decode_bytes(file.getvalue(), size=2, channels=1)
    >>> pixels.tolist(), shape
    ([[[76, 76], [76, 76]]], (40, 20))
    """
    picture = decode_picture(content, size, channels)
    return picture.pixels, (picture.width, picture.height)


def decode_picture(
    content: bytes,
    size: int,
    channels: int,
    rendering: Rendering = "voi",
    *,
    name: str = "",
    body_parts: Collection[str] | None = None,
    allow_unsuitable: bool = False,
    with_study: bool = False,
) -> Picture:
    """Decode an image file's content and squash it to a square.

    Upright as its EXIF orientation says; the first frame of an animation; what is transparent becomes black.
    The resize is antialiased and bilinear: its weights are never negative, so sharp edges (burnt-in letters,
    wires) get no halo, and the evaluation view resizes in the same way.

    Args:
        content: the whole file.
        size: side S of the result, in pixels.
        channels: 1 for luminance (ITU-R 601), 3 for RGB (a grey image gives three equal channels).
        rendering: how grey values of DICOM become 8 bits, `image.dicom`; other files do not need it.
        name: of the file; one that ends in .dcm or .dicom and is no DICOM is told what it lacks.
        body_parts: values of BodyPartExamined that suit; None: any.
        allow_unsuitable: decode DICOM of unsuitable modalities and body parts, and say so in the result.
        with_study: whether the digest of the study is wanted.

    Raises:
        UnreadableImage: the content is not a complete image.
        MissingExtra: it is DICOM, and what reads it is not installed.
        UnsuitableImage: it is DICOM of another kind than X-ray films; several frames are refused in any case.
    """
    if is_dicom(content):
        try:
            from couplet.images.decoding.dicom import read_dicom  # with an extra
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"DICOM needs {(error.name or 'pydicom').partition('.')[0]}: {INSTALL}"
            ) from None
        film = read_dicom(content, rendering, MAX_PIXELS, body_parts, allow_unsuitable, with_study)
        height, width = film.grey.shape[:2]
        loaded = _Loaded(Image.fromarray(film.grey), (width, height), (0, 0, width, height), 1)
        return Picture(
            _squashed(loaded, size, channels), width, height, film.facts, film.unsuitable, dicom=True
        )
    mode = "L" if channels == 1 else "RGB"
    try:
        loaded = _load(content, mode, draft_size=2 * size)
    except UnreadableImage:
        if content and name.lower().endswith(DICOM_ENDINGS):
            raise UnreadableImage(NO_PREAMBLE) from None
        raise
    width, height = reversed(loaded.size) if loaded.turn >= 5 else loaded.size
    return Picture(_squashed(loaded, size, channels), width, height)


def is_dicom(content: bytes) -> bool:
    """Whether a file's beginning (132 bytes are enough) is that of a DICOM file (PS3.10, 7.1).

    Data sets without that beginning are not looked for: any bytes could be taken for one.
    """
    return content[128:132] == b"DICM"


class _Loaded(NamedTuple):
    image: Image.Image
    size: tuple[int, int]  # width and height of the original
    box: tuple[float, float, float, float]  # where the original lies in `image`
    turn: int  # the EXIF orientation that is still to be applied


def _squashed(loaded: _Loaded, size: int, channels: int) -> np.ndarray:
    """(C, S, S) uint8 of a picture of any mode."""
    mode = "L" if channels == 1 else "RGB"
    image = _plain(loaded.image, mode).resize((size, size), Image.Resampling.BILINEAR, loaded.box)
    if loaded.turn in TURNS:
        image = image.transpose(TURNS[loaded.turn])
    pixels = np.asarray(image)
    if image.mode == "F":
        pixels = np.rint(pixels).clip(0, 255).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], channels, axis=2)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _load(content: bytes, mode: str, draft_size: int) -> _Loaded:
    if not content:
        raise UnreadableImage("the file is empty")
    silence_libtiff()
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            size = image.size
            if size[0] * size[1] > MAX_PIXELS:
                raise Image.DecompressionBombError
            # At a scale of 1/8, 97 pixels become 13, the last mostly padding: the box ends at 97 / 8.
            drafted = image.draft(mode, (draft_size, draft_size))
            box = drafted[1] if drafted else (0, 0, *size)
            picture = _load_whole(image, content)
    except Image.DecompressionBombError:
        raise UnreadableImage(f"the image has more than {MAX_PIXELS} pixels") from None
    except Image.UnidentifiedImageError:
        raise UnreadableImage(describe(content, (*FORMATS, "DICOM"))) from None
    except MemoryError:
        raise  # says something about this machine, not about the file
    except Exception as error:  # Pillow's parsers raise nearly anything on damaged input
        raise UnreadableImage(_stable_text(error)) from None
    try:
        # After load(), in which Pillow turns a TIFF by itself and takes the tag away.
        turn = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF data; the pixels are good
        turn = 1
    return _Loaded(picture, size, box, turn if turn in TURNS else 1)


def _load_whole(image: ImageFile.ImageFile, content: bytes) -> Image.Image:
    """Read all of an opened image, in whatever mode; F with values from 0 to 255 for samples of more than 8 bits.

    Raises:
        Exception: a part is missing, or would be read as another picture than it is.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        prepare_tiff(image, content)
    if image.format in ("JPEG", "MPO"):
        load_whole(image, content)
        return image
    wide = read_wide(image, content)
    image.load()
    if wide is not None:
        return wide
    require_upper_bits(image, content)
    values = as_meant(image)
    if values is None and image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image) if values is None else values
    grey = to_eight_bits(values)
    if white_is_zero(image):
        grey = 255 - grey
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[values == transparent] = 0
    return Image.fromarray(grey)


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Any mode -> `mode` (L or RGB); F stays as it is."""
    if image.mode == "F":
        return image
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


def _stable_text(error: Exception) -> str:
    """An error's text without memory addresses, which differ from run to run."""
    text = re.sub(r"<[^>]*>|0x[0-9a-fA-F]+", "...", " ".join(str(error).split()))
    return text or f"the image cannot be decoded ({type(error).__name__})"
