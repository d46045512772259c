"""Every depth, meaning of zero, byte order and compression gives the picture that it shows, or a reason."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from couplet.images.decoding.decode import UnreadableImage, decode_bytes
from couplet.images.decoding.samples import require_upper_bits
from tests.support.tiffs import DEFLATE, PACKBITS, RAW, tiff

SHOWN = np.array([[0, 64, 128, 255], [255, 191, 64, 0]])  # 0 black, 255 white


def packbits(content: bytes) -> bytes:
    """Literal runs only."""
    runs = [content[at : at + 128] for at in range(0, len(content), 128)]
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


COMPRESSIONS: dict[int, Callable[[bytes], bytes]] = {RAW: bytes, DEFLATE: zlib.compress, PACKBITS: packbits}
COMPRESSED = pytest.mark.parametrize("compression", COMPRESSIONS, ids=["raw", "deflate", "packbits"])
ORDERED = pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
NOT_READ = "the file is TIFF of a kind that is not read (4 x 2, "


def grey_tiff(
    values: np.ndarray, bits: int, photometric: int, order: str, compression: int, **tags: Any
) -> bytes:
    """Rows of whole bytes, as TIFF wants them; values of less than a byte are packed, the first highest."""
    if bits < 8 or bits == 12:
        rows = ["".join(format(int(value), f"0{bits}b") for value in row) for row in values]
        size = -(-values.shape[1] * bits // 8)
        data = b"".join(int(row.ljust(8 * size, "0"), 2).to_bytes(size, "big") for row in rows)
    else:
        data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    strip = COMPRESSIONS[compression](data)
    height, width = values.shape
    return tiff([strip], width, height, [bits], photometric, order, compression=compression, **tags)


def shown(content: bytes, channels: int = 1) -> Any:
    """The pixels of a 4 x 2 image, which is stretched to 4 x 4 by repeating rows at the edges."""
    array = decode_bytes(content, 4, channels)[0][:, [0, 3]]
    return array[0].tolist() if channels == 1 else array.tolist()


def shown_or_reason(content: bytes) -> Any:
    try:
        return shown(content)
    except UnreadableImage as error:
        return str(error)


@ORDERED
@COMPRESSED
@pytest.mark.parametrize("negative", [False, True], ids=["black is zero", "white is zero"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_whole_numbers(bits: int, negative: bool, compression: int, order: str) -> None:
    highest = 2**bits - 1
    values = np.rint(SHOWN / 255 * highest).astype(np.uint16 if bits > 8 else np.uint8)
    expected = np.rint(values * (255 / highest)).astype(int)
    content = grey_tiff(highest - values if negative else values, bits, int(not negative), order, compression)
    result = shown_or_reason(content)
    if (bits == 12 and (negative or order == ">")) or (bits == 16 and negative and order == ">"):
        assert result.startswith(f"{NOT_READ}1 x {bits} bits, whole numbers")  # Pillow does not read it
    else:
        assert np.abs(np.array(result) - expected).max() <= 1


@ORDERED
@COMPRESSED
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_negative_is_turned_round_within_the_depth_that_it_uses(
    bits: int, compression: int, order: str
) -> None:
    values = np.rint(SHOWN / 255 * (2**bits - 1)).astype(np.uint16)
    content = grey_tiff(2**bits - 1 - values, 16, 0, order, compression)
    if order == ">":
        assert shown_or_reason(content).startswith(NOT_READ)
    else:
        assert np.abs(np.array(shown(content)) - SHOWN).max() <= 1


@ORDERED
@COMPRESSED
@pytest.mark.parametrize(
    ("values", "photometric", "expected"),
    [
        ((SHOWN / 255).astype(np.float32), 1, SHOWN),
        ((1 - SHOWN / 255).astype(np.float32), 0, SHOWN),
        ((SHOWN * 257).astype(np.float32), 1, SHOWN),
        ((SHOWN // 2).astype(np.int8), 1, SHOWN // 2),
        ((SHOWN - 128).astype(np.int8), 1, SHOWN),
        ((SHOWN * 128).astype(np.int16), 1, SHOWN * 128 / 65535 * 255),
        ((SHOWN * 16 - 1000).astype(np.int16), 1, SHOWN),
        ((SHOWN * 2**20).astype(np.int32), 1, SHOWN),
        ((SHOWN * (2**24 + 2**16)).astype(np.uint32), 1, SHOWN),  # beyond what 31 bits hold
    ],
)
def test_fractions_signed_and_long_numbers(
    values: np.ndarray, photometric: int, expected: np.ndarray, compression: int, order: str
) -> None:
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    bits = 8 * values.dtype.itemsize
    content = grey_tiff(values, bits, photometric, order, compression, format=kind)
    if values.dtype == np.uint32 and order == ">":
        assert shown_or_reason(content).startswith(f"{NOT_READ}1 x 32 bits, whole numbers")
    else:
        assert np.abs(np.array(shown(content)) - expected).max() <= 1


@ORDERED
@COMPRESSED
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes(bits: int, compression: int, order: str) -> None:
    indices = np.array([[0, 1, 1, 0], [1, 1, 0, 0]], np.uint8)
    colours = np.zeros((3, 2**bits), int)
    colours[:, 0], colours[:, 1] = (65535, 0, 0), (257, 514, 771)
    content = grey_tiff(indices, bits, 3, order, compression, colours=colours.ravel().tolist())
    assert (
        np.array(shown(content, 3)).tolist()
        == np.where(indices, [[[1]], [[2]], [[3]]], [[[255]], [[0]], [[0]]]).tolist()
    )


# --- colour of 16 bits --------------------------------------------------------------------------------------


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(values: np.ndarray, *, filtered: bool = False, more: bytes = b"") -> bytes:
    """A PNG of (H, W, n) 16-bit samples; `filtered`: each row is its difference to the one above."""
    height, width, n = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[n]
    rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    if filtered:
        rows = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))
    data = zlib.compress(b"".join(bytes([2 if filtered else 0]) + row.tobytes() for row in rows))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def colour_tiff(order: str, compression: int, **tags: Any) -> Callable[[np.ndarray], bytes]:
    def write(values: np.ndarray) -> bytes:
        height, width, n = values.shape
        strip = COMPRESSIONS[compression](values.astype(order + "u2").tobytes())
        tagged = {"photometric": 2, "compression": compression, **tags}
        return tiff([strip], width, height, [16] * n, order=order, **tagged)

    return write


WRITERS = {
    "PNG": png,
    "PNG filtered": lambda values: png(values, filtered=True),
    **{
        f"TIFF {'little' if order == '<' else 'big'} {compression}": colour_tiff(order, compression)
        for order in "<>"
        for compression in COMPRESSIONS
    },
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_colour_of_16_bits_is_scaled_by_the_depth_that_it_uses(writer: str, bits: int) -> None:
    highest = 2**bits - 1
    grey = np.rint(SHOWN / 255 * highest).astype(np.uint16)
    content = WRITERS[writer](np.stack([grey, grey[::-1], grey // 2], axis=-1))
    result = np.array(shown(content, 3))
    expected = np.stack([SHOWN, SHOWN[::-1], SHOWN / 2])  # one scale for all of them
    assert np.abs(result - expected).max() <= 1
    alike = WRITERS[writer](np.repeat(grey[..., None], 3, axis=-1))
    assert np.abs(np.array(shown(alike)) - SHOWN).max() <= 1  # 12 bits: 7.5 on average before, not 127.5


@pytest.mark.parametrize("highest", [4095, 65535])
@pytest.mark.parametrize("opacity", [4095, 65535])
def test_grey_with_opacity(highest: int, opacity: int) -> None:
    grey = np.rint(SHOWN / 255 * highest)
    solid = np.full(SHOWN.shape, opacity)
    content = png(np.stack([grey, solid], axis=-1))
    assert np.abs(np.array(shown(content)) - SHOWN).max() <= 1
    solid[:, 0] = 0
    content = png(np.stack([grey, solid], axis=-1))
    assert np.abs(np.array(shown(content))[:, 2:] - SHOWN[:, 2:]).max() <= 1
    assert np.array(decode_bytes(content, 4, 1)[0])[0, :, 0].tolist() == [0, 0, 0, 0]  # transparent: black


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("highest", [4095, 65535])
def test_colour_with_opacity(writer: str, highest: int) -> None:
    grey = np.rint(SHOWN / 255 * highest)
    half = np.full(SHOWN.shape, 65535)
    half[0] = 32768
    if writer.startswith("PNG"):
        contents = [(WRITERS[writer](np.stack([grey] * 3 + [half], axis=-1)), half / 65535)]
    else:
        order, compression = "<" if "little" in writer else ">", int(writer.split()[-1])
        four = np.stack([grey] * 3 + [half], axis=-1)
        contents = [
            (colour_tiff(order, compression, extra=2)(four), half / 65535),
            # Something else than opacity.
            (colour_tiff(order, compression, extra=0)(four), np.ones(half.shape)),
            (colour_tiff(order, compression, extra=1)(four), np.ones(half.shape)),  # multiplied already
        ]
    for content, factor in contents:
        assert np.abs(np.array(shown(content)) - SHOWN * factor).max() <= 1


@ORDERED
@COMPRESSED
def test_cmyk_of_16_bits(order: str, compression: int) -> None:
    ink = np.rint((255 - SHOWN) / 255 * 4095)
    content = colour_tiff(order, compression, photometric=5)(np.stack([ink] * 3 + [ink * 0], axis=-1))
    assert np.abs(np.array(shown(content)) - SHOWN).max() <= 1


def test_a_transparent_colour_of_16_bits_is_compared_with_all_of_them() -> None:
    grey = np.rint(SHOWN / 255 * 4095).astype(np.uint16)
    transparent = chunk(b"tRNS", struct.pack(">H", 4095))
    assert np.abs(np.array(shown(png(grey[..., None], more=transparent))) - SHOWN % 255).max() <= 1
    colour = np.repeat(grey[..., None], 3, axis=-1)
    transparent = chunk(b"tRNS", struct.pack(">HHH", 4095, 4095, 4095))
    assert np.abs(np.array(shown(png(colour, more=transparent))) - SHOWN % 255).max() <= 1


def test_the_orientation_of_a_16_bit_colour_tiff() -> None:
    grey = np.rint(SHOWN / 255 * 4095).astype(np.uint16)
    content = colour_tiff("<", RAW)(np.repeat(grey[..., None], 3, axis=-1))
    turned = colour_tiff("<", RAW, orientation=3)(np.repeat(grey[..., None], 3, axis=-1))
    assert shown(turned) == np.array(shown(content))[::-1, ::-1].tolist()


def test_colours_in_separate_planes() -> None:
    """With 8 bits they are read; with 16 Pillow would take each byte for a sample."""
    planes = [np.asarray(plane, np.uint8) for plane in (SHOWN, SHOWN[::-1], SHOWN // 2)]
    options: dict[str, Any] = {"planar": 2, "rows": 2}
    content = tiff([plane.tobytes() for plane in planes], 4, 2, [8] * 3, 2, **options)
    assert np.array(shown(content, 3)).tolist() == [plane.tolist() for plane in planes]
    wide = tiff([(plane.astype("<u2") * 257).tobytes() for plane in planes], 4, 2, [16] * 3, 2, **options)
    assert shown_or_reason(wide).startswith(
        "colours of more than 8 bits in separate planes are not supported"
    )


@pytest.mark.parametrize("highest", [1023, 4095, 16383])
def test_colour_that_pillow_cuts_to_its_upper_bits_is_refused_when_these_are_empty(highest: int) -> None:
    values = np.repeat(np.rint(SHOWN / 255 * highest)[..., None], 3, axis=-1).astype(">u2")
    content = b"P6 4 2 65535\n" + values.tobytes()
    reason = "PPM colour of 16 bits a sample is read by its upper 8 bits, and these are nearly empty here"
    assert shown_or_reason(content).startswith(reason)
    declared = f"P6 # of a detector\n4 2 {highest}\n".encode() + values.tobytes()
    assert np.abs(np.array(shown(declared)) - SHOWN).max() <= 1
    full = b"P6 4 2 65535\n" + (values.astype(float) / highest * 65535).round().astype(">u2").tobytes()
    assert np.abs(np.array(shown(full)) - SHOWN).max() <= 1


def test_jpeg_2000_says_its_depth() -> None:
    """Pillow writes 8 bits of colour; the depth that a file declares is a byte of its header for each colour."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (20, 20, 20)).save(file, "JPEG2000", no_jp2=True, irreversible=False)
    content = bytearray(file.getvalue())
    assert decode_bytes(bytes(content), 4, 1)[0].max() == 20
    assert content[42:51:3] == bytes([7, 7, 7])  # bits - 1
    content[42:51:3] = bytes([15, 15, 15])
    with Image.open(io.BytesIO(content)) as image:
        image.load()
    image.paste((64, 64, 64), (0, 0, 64, 64))
    with pytest.raises(ValueError, match="JPEG2000 colour of 16 bits a sample is read by its upper 8 bits"):
        require_upper_bits(image, bytes(content))
    image.putpixel((0, 0), (65, 0, 0))
    require_upper_bits(image, bytes(content))
