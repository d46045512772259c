"""One DICOM file -> its picture in grey levels from 0 to 255 (or RGB), and what its header says of it.

Read top to bottom: header, refusals, pixels, rendering. Compressed pixels are decoded in a process that may die
(`couplet.images.decoding.helper`), after their own headers were compared with the file's.
"""

from __future__ import annotations

from collections.abc import Collection
from math import ceil
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import get_expected_length

from couplet.images.decoding import dicom_header as tags
from couplet.images.decoding.codestream import jpeg2000_size, jpeg_size
from couplet.images.decoding.helper import decode_frame
from couplet.images.decoding.picture import INSTALL, Facts, MissingExtra, UnreadableImage, UnsuitableImage
from couplet.images.decoding.rendering import render
from couplet.settings.schema.image import Rendering

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
BIG_ENDIAN = "1.2.840.10008.1.2.2"
RLE, EXTENDED = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.51"
# Transfer syntax -> what it is called, and pydicom's plug-ins for it in their order: the first that is there decodes,
# so that a further one changes no bytes. All have permissive licences. The order and its reasons: docs/security.md.
JPEG = "1.2.840.10008.1.2.4."
ENCODED: dict[str, tuple[str, tuple[str, ...]]] = {
    RLE: ("RLE", ("pydicom",)),
    f"{JPEG}50": ("JPEG", ("pillow",)),
    EXTENDED: ("JPEG extended", ("pylibjpeg",)),
    f"{JPEG}57": ("JPEG lossless", ("gdcm",)),
    f"{JPEG}70": ("JPEG lossless", ("gdcm",)),
    f"{JPEG}80": ("JPEG-LS", ("pyjpegls",)),
    f"{JPEG}81": ("JPEG-LS", ("pyjpegls",)),
    f"{JPEG}90": ("JPEG 2000", ("pylibjpeg", "pillow")),
    f"{JPEG}91": ("JPEG 2000", ("pylibjpeg", "pillow")),
    f"{JPEG}201": ("JPEG 2000", ("pylibjpeg",)),
    f"{JPEG}202": ("JPEG 2000", ("pylibjpeg",)),
    f"{JPEG}203": ("JPEG 2000", ("pylibjpeg",)),
}
PACKAGES = {
    "pillow": "Pillow",
    "gdcm": "python-gdcm",
    "pyjpegls": "pyjpegls",
    "pylibjpeg": "pylibjpeg-openjpeg",
}
NO_EXTENDED = (
    "JPEG extended (12 bit) has no decoder with a free licence here: pip install pylibjpeg-libjpeg (GPL-3) adds one, "
    "or write the file losslessly"
)


class Film(NamedTuple):
    """A decoded picture: (H, W) uint8 or float32 in [0, 255], or (H, W, 3) uint8; why it does not suit, if so."""

    grey: np.ndarray
    facts: Facts
    unsuitable: str


def read_dicom(
    content: bytes,
    rendering: Rendering,
    most_pixels: int,
    body_parts: Collection[str] | None = None,
    allow_unsuitable: bool = False,
    with_study: bool = False,
) -> Film:
    """Decode a file that has `DICM` at byte 128; see `couplet.images.decoding.decode.decode_picture`.

    Raises:
        UnreadableImage, MissingExtra, UnsuitableImage: as there.
    """
    header, syntax = tags.read_header(content, with_study)
    try:
        return _film(header, syntax, rendering, most_pixels, body_parts, allow_unsuitable)
    except (UnreadableImage, UnsuitableImage, MemoryError):
        raise
    except (
        Exception
    ) as error:  # pydicom converts a value when it is asked for, and raises nearly anything then
        raise UnreadableImage(f"the DICOM header is damaged ({tags.stable(error)})") from None


def _film(
    header: Dataset,
    syntax: str,
    rendering: Rendering,
    most_pixels: int,
    body_parts: Collection[str] | None,
    allow_unsuitable: bool,
) -> Film:
    _refuse_syntax(syntax)
    tags.refuse_unreadable(header, most_pixels)
    if (n := tags.frames(header)) != 1:
        raise UnsuitableImage(f"{n} frames, single pictures are read")
    unsuitable = tags.why_unsuitable(header, body_parts)
    if unsuitable and not allow_unsuitable:
        raise UnsuitableImage(unsuitable)
    stored = _native(header, syntax) if syntax in NATIVE else _encoded(header, syntax)
    facts = tags.facts_of(header, rendering)
    if stored.ndim == 3:
        return Film(_eight_bits(stored, tags.number(header, "BitsStored")), facts, unsuitable)
    look = tags.look_of(header, little_endian=syntax != BIG_ENDIAN)
    return Film(render(stored, look, rendering), facts, unsuitable)


def _refuse_syntax(syntax: str) -> None:
    if not syntax:
        raise UnreadableImage("the transfer syntax is missing")
    if syntax not in NATIVE and syntax not in ENCODED:
        raise UnreadableImage(
            f"transfer syntax {syntax if set(syntax) <= set('.0123456789') else '?'} is not read"
        )


def _native(header: Dataset, syntax: str) -> np.ndarray:
    length, needed = len(header.PixelData), get_expected_length(header)
    if length < needed:
        raise UnreadableImage(f"the pixel data has {length} bytes, {needed} are needed")
    try:
        pixels, _ = get_decoder(syntax).as_array(header, index=0)
    except MemoryError:
        raise  # says something about this machine, not about the file
    except Exception as error:  # contradictions between tags
        raise UnreadableImage(f"the pixel data cannot be decoded ({type(error).__name__})") from None
    return pixels


def _encoded(header: Dataset, syntax: str) -> np.ndarray:
    plugin = _plugin(syntax, tags.number(header, "BitsStored"))
    try:
        table = (header.get("ExtendedOffsetTable"), header.get("ExtendedOffsetTableLengths"))
        offsets = table if all(isinstance(part, bytes) for part in table) else None
        frame = get_frame(header.PixelData, 0, number_of_frames=1, extended_offsets=offsets)
    except MemoryError:
        raise
    except Exception:  # pydicom's parser raises nearly anything on damaged input
        raise UnreadableImage("the fragments of its pixel data are damaged") from None
    shape = _require_size(frame, header, syntax)
    options = {
        "transfer_syntax": syntax,
        "decoding_plugin": plugin,
        "rows": tags.number(header, "Rows"),
        "columns": tags.number(header, "Columns"),
        "samples_per_pixel": tags.number(header, "SamplesPerPixel"),
        "photometric_interpretation": tags.text(header, "PhotometricInterpretation"),
        "planar_configuration": tags.number(header, "PlanarConfiguration", 0),
        "bits_allocated": tags.number(header, "BitsAllocated"),
        "bits_stored": tags.number(header, "BitsStored"),
        "pixel_representation": tags.number(header, "PixelRepresentation"),
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }
    return decode_frame(frame, options, shape)


def _plugin(syntax: str, bits: int) -> str:
    """Name of the plug-in that decodes.

    Raises:
        MissingExtra: none of those for the syntax is installed.
    """
    name, plugins = ENCODED[syntax]
    if syntax == EXTENDED and bits == 8:
        plugins = ("pillow",)
    there = get_decoder(syntax).available_plugins
    for plugin in plugins:
        if plugin in there:
            return plugin
    if syntax == EXTENDED:
        raise UnreadableImage(NO_EXTENDED)
    raise MissingExtra(f"{name} in DICOM needs {PACKAGES.get(plugins[0], plugins[0])}: {INSTALL}")


def _require_size(frame: bytes, header: Dataset, syntax: str) -> tuple[int, ...]:
    """The shape of the decoded picture, which the code stream must have too."""
    rows, columns, samples = (tags.number(header, name) for name in ("Rows", "Columns", "SamplesPerPixel"))
    shape = (rows, columns) if samples == 1 else (rows, columns, samples)
    name, _ = ENCODED[syntax]
    if syntax == RLE:
        # Each segment's length follows from the header. PackBits makes at most 128 bytes of two.
        needed = rows * columns * samples * ceil(tags.number(header, "BitsAllocated") / 8)
        if 64 * len(frame) < needed:
            raise UnreadableImage(
                f"the RLE data has {len(frame)} bytes, too few for {columns} x {rows} pixels"
            )
        return shape
    size = jpeg2000_size(frame) if name == "JPEG 2000" else jpeg_size(frame)
    if size is None:
        raise UnreadableImage(f"the pixel data holds no {name} stream")
    if (size.columns, size.rows) != (columns, rows):
        raise UnreadableImage(
            f"the {name} stream holds {size.columns} x {size.rows} pixels, the header says {columns} x {rows}"
        )
    if size.samples != samples:
        raise UnreadableImage(
            f"the {name} stream has {size.samples} samples a pixel, the header says {samples}"
        )
    if size.bits > 16:
        raise UnreadableImage(f"the {name} stream has {size.bits} bits a sample, at most 16 are read")
    return shape


def _eight_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """(H, W, 3) uint8 of RGB of any depth."""
    if (pixels == pixels[0, 0]).all():
        raise UnreadableImage("the picture has one grey level only")
    if bits == 8 and pixels.dtype == np.uint8:
        return pixels
    return np.rint(pixels * (255 / (2**bits - 1))).clip(0, 255).astype(np.uint8)
