"""Files that cannot be read say what they are; missing parts of TIFF and BMP; nothing on stderr."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from couplet.images.decoding.decode import UnreadableImage, decode_bytes
from couplet.images.decoding.jpeg import CUT
from tests.support.tiffs import DEFLATE, JPEG, PACKBITS, tiff

HOW = "convert it to 8-bit JPEG, or to 8- or 16-bit PNG (docs/datasets.md, Image files)"
ROWS = np.random.default_rng(0).integers(100, 256, (64, 64)).astype(np.uint8)
STRIPS = [ROWS[at : at + 8].tobytes() for at in range(0, 64, 8)]


def reason(content: bytes) -> str:
    with pytest.raises(UnreadableImage) as error:
        decode_bytes(content, 16, 1)
    return str(error.value)


def encoded(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(ROWS).save(file, kind, **options)
    return file.getvalue()


def jpeg_of(marker: int, bits: int) -> bytes:
    """A JPEG whose frame is of another kind, behind an application segment that holds the marker too."""
    content = encoded("JPEG")
    frame = content.index(b"\xff\xc0")
    other = content[:2] + b"\xff\xe5\0\x06\xff\xc3\x0c\0" + content[2:frame]
    return (
        other + bytes([255, marker]) + content[frame + 2 : frame + 4] + bytes([bits]) + content[frame + 5 :]
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (jpeg_of(0xC1, 12), f"JPEG of 12 bits a sample: {HOW}"),
        (jpeg_of(0xF7, 8), f"JPEG-LS of 8 bits a sample: {HOW}"),
        (jpeg_of(0xF7, 16), f"JPEG-LS of 16 bits a sample: {HOW}"),
        (jpeg_of(0xC3, 16), f"lossless JPEG of 16 bits a sample: {HOW}"),
        (b"\xff\x0a" + bytes(100), f"JPEG XL: {HOW}"),
        (b"\0\0\0\x20ftypheic" + bytes(100), f"HEIF, AVIF or a film: {HOW}"),
        (b"%PDF-1.7\n", f"a PDF document: {HOW}"),
        (b"PK\x03\x04" + bytes(100), f"a ZIP archive: {HOW}"),
        (b"\x1f\x8b\x08" + bytes(100), f"compressed with gzip: {HOW}"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`",
        ),
        (
            tiff([bytes(128)], 4, 4, [64], 1, format=3),
            f"TIFF of a kind that is not read (4 x 4, 1 x 64 bits, fractions, little-endian): {HOW}",
        ),
        (
            tiff([bytes(64)], 4, 4, [16, 16], 0, ">", extra=2),
            "TIFF of a kind that is not read (4 x 4, 2 x 16 bits, whole numbers, white is zero, big-endian): "
            + HOW,
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_do(content: bytes, what: str) -> None:
    assert reason(content) == f"the file is {what}"


def test_jpeg_2000_is_named_where_pillow_does_not_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded("JPEG2000")
    decode_bytes(content, 16, 1)
    monkeypatch.setattr(features, "check", lambda _: False)
    monkeypatch.setattr("couplet.images.decoding.decode.FORMATS", ("JPEG", "PNG"))
    assert reason(content) == f"the file is JPEG 2000, which this Pillow was built without: {HOW}"


# --- missing parts ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # Pillow's, about a directory that was cut off
@pytest.mark.parametrize(
    "content",
    [
        tiff(STRIPS[:4], 64, 64, [8], 1, rows=8),  # four of eight strips are listed
        tiff([ROWS[:32].tobytes()], 64, 64, [8], 1),  # one strip, half as long as it should be
        tiff([ROWS[:32].tobytes()], 64, 64, [8], 1) + bytes(5000),
        tiff(STRIPS, 64, 64, [8], 1, rows=8, offsets=[8, 520, 1032, 1544, 0, 0, 0, 0]),
        tiff([ROWS.tobytes()] * 2, 64, 64, [8] * 3, 2, planar=2),  # the third plane is missing
        tiff(STRIPS, 64, 64, [8], 1, rows=8)[:3000],
    ],
)
def test_a_raw_tiff_that_lacks_rows(content: bytes) -> None:
    assert reason(content).startswith(("image file is truncated", "the file is no image of a known format"))


@pytest.mark.parametrize("order", ["<", ">"])
def test_whole_raw_tiffs_are_read(order: str) -> None:
    expected = decode_bytes(encoded("PNG"), 16, 1)[0]
    files = [
        tiff(STRIPS, 64, 64, [8], 1, order, rows=8),
        # Some writers do not say how long they are.
        tiff(STRIPS, 64, 64, [8], 1, order, rows=8, bytes=[0] * 8),
        tiff([ROWS.tobytes()], 64, 64, [8], 1, order, rows=2**32 - 1),  # "all in one", the default
        tiff([ROWS[:48].tobytes(), ROWS[48:].tobytes()], 64, 64, [8], 1, order, rows=48),
    ]
    for content in files:
        np.testing.assert_array_equal(decode_bytes(content, 16, 1)[0], expected)


@pytest.mark.parametrize(
    ("compression", "strips"),
    [
        (DEFLATE, [zlib.compress(strip) for strip in STRIPS[:4]]),
        (DEFLATE, [zlib.compress(strip)[:200] for strip in STRIPS]),
        (PACKBITS, [b"\x7f" + strip[:128] for strip in STRIPS]),
    ],
)
def test_a_compressed_tiff_that_lacks_rows_is_refused_without_a_line_on_stderr(
    compression: int, strips: list[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    assert reason(tiff(strips, 64, 64, [8], 1, rows=8, compression=compression)) == "decoder error -2"
    assert capfd.readouterr().err == ""


def test_pillow_itself_writes_nothing_to_stderr_either(capfd: pytest.CaptureFixture[str]) -> None:
    content = tiff([bytes(64)], 4, 4, [8], 1, samples=60_000)  # "More samples per pixel than can be decoded"
    assert reason(content).startswith("the file is TIFF of a kind that is not read (4 x 4, 60000 x 8 bits")
    assert capfd.readouterr().err == ""


def test_jpeg_inside_tiff() -> None:
    streams = []
    for at in range(0, 64, 32):
        file = io.BytesIO()
        Image.fromarray(ROWS[at : at + 32]).save(file, "JPEG")
        streams.append(file.getvalue())
    whole = decode_bytes(tiff(streams, 64, 64, [8], 1, rows=32, compression=JPEG), 16, 1)[0]
    assert np.abs(whole.astype(int) - decode_bytes(encoded("PNG"), 16, 1)[0]).max() <= 5
    half = streams[1][: len(streams[1]) // 2]
    for stream, why in ((half + b"\xff\xd9", CUT), (half, "image file is truncated")):
        content = tiff([streams[0], stream], 64, 64, [8], 1, rows=32, compression=JPEG)
        assert reason(content).startswith(why)


def test_jpeg_inside_tiff_with_its_tables_apart() -> None:
    file = io.BytesIO()
    Image.fromarray(ROWS).save(file, "TIFF", compression="jpeg")
    content = file.getvalue()
    with Image.open(io.BytesIO(content)) as image:
        tags = dict(image.tag_v2)  # type: ignore[attr-defined]
    assert 347 in tags  # JPEGTables
    decode_bytes(content, 16, 1)
    start, n = tags[273][-1], tags[279][-1]
    middle = start + n // 2
    damaged = content[:middle] + b"\xff\xd9" + bytes(start + n - middle - 2) + content[start + n :]
    assert reason(damaged) == CUT


def run_length_bmp(lines: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 8, 1, len(lines), 0, 0, 256, 256)
    palette = b"".join(bytes([grey, grey, grey, 0]) for grey in range(256))
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + header + palette + lines


def test_a_bmp_that_lacks_rows() -> None:
    lines = b"\x40\x80\0\0" * 64 + b"\0\1"
    assert (decode_bytes(run_length_bmp(lines), 16, 1)[0] == 128).all()
    for part in (lines[:100], lines[:100] + b"\0\1"):
        assert reason(run_length_bmp(part)) == "not enough image data"
    assert reason(encoded("BMP")[:3000]).startswith("image file is truncated")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "JPEG2000", "PPM"])
def test_other_formats_that_were_cut_and_closed(kind: str) -> None:
    content = encoded(kind)
    ends = {"GIF": b"\0;", "PNG": content[-12:], "JPEG2000": b"\xff\xd9"}
    for share in (0.4, 0.7, 0.9):
        assert reason(content[: int(share * len(content))] + ends.get(kind, b""))
