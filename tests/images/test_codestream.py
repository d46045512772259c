from __future__ import annotations

import io
import struct
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from PIL import Image

from couplet.images.decoding.codestream import StreamSize, jpeg2000_size, jpeg_size
from couplet.images.decoding.decode import UnreadableImage, decode_picture
from tests.support.dicoms import dicom

J2K, BASELINE, LOSSLESS, LS = (f"1.2.840.10008.1.2.4.{n}" for n in (90, 50, 70, 80))


def encoded(kind: str, mode: str = "L", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 100).save(file, kind, **options)
    return file.getvalue()


def siz(stream: bytes, columns: int, rows: int) -> bytes:
    """A JPEG 2000 stream that says it is this large, tiles included."""
    start = stream.index(b"\xff\x4f\xff\x51") + 8
    fields = struct.pack(">6I", columns, rows, 0, 0, columns, rows)
    return stream[:start] + fields + stream[start + 24 :]


@pytest.mark.parametrize(("mode", "samples"), [("L", 1), ("RGB", 3)])
def test_sizes_as_pillow_reads_them(mode: str, samples: int) -> None:
    expected = StreamSize(40, 30, samples, 8)
    for options in ({}, {"progressive": True}, {"exif": Image.Exif(), "comment": b"x" * 300}):
        assert jpeg_size(encoded("JPEG", mode, **options)) == expected
    for no_jp2 in (True, False):
        assert jpeg2000_size(encoded("JPEG2000", mode, no_jp2=no_jp2)) == expected


def test_an_image_area_that_does_not_begin_at_zero() -> None:
    stream = bytearray(encoded("JPEG2000", no_jp2=True))
    stream[16:24] = struct.pack(">2I", 10, 20)
    assert jpeg2000_size(bytes(stream)) == StreamSize(30, 10, 1, 8)


def test_a_decoy_in_an_earlier_box_is_not_believed() -> None:
    stream = siz(encoded("JPEG2000"), 20_000, 20_000)
    decoy = encoded("JPEG2000", no_jp2=True)
    box = struct.pack(">I4s", 8 + len(decoy), b"uuid") + decoy
    size = jpeg2000_size(stream[:12] + box + stream[12:])
    assert size is not None and (size.columns, size.rows) == (20_000, 20_000)
    # A box whose length takes 8 bytes, and one that says 0: to the end.
    start = stream.index(b"jp2c") - 4
    content = stream[start + 8 :]
    for head in (struct.pack(">I4sQ", 1, b"jp2c", 16 + len(content)), struct.pack(">I4s", 0, b"jp2c")):
        size = jpeg2000_size(stream[:start] + head + content)
        assert size is not None and size.columns == 20_000


def test_streams_without_a_size() -> None:
    jpeg, j2k = encoded("JPEG"), encoded("JPEG2000")
    for cut in range(0, 140, 3):
        assert jpeg_size(jpeg[:cut]) in (None, StreamSize(40, 30, 1, 8))
        assert jpeg2000_size(j2k[:cut]) in (None, StreamSize(40, 30, 1, 8))
    for stream in (
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xda\0\2",
        b"\xff\xd8\xff\xe0\0\0",
        b"GIF89a",
    ):
        assert jpeg_size(stream) is None and jpeg2000_size(stream) is None
    assert jpeg_size(b"\xff\xd8\xff\xff\xff\x01" + jpeg[2:]) == StreamSize(40, 30, 1, 8)  # fill bytes


def reason(content: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode_picture(content, 16, 1)
    return str(caught.value)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = dicom(
        siz(encoded("JPEG2000", size=(512, 512), no_jp2=True), 20_000, 20_000), 8, J2K, Rows=512, Columns=512
    )
    reason(bomb)  # imports what is imported late
    tracemalloc.start()
    start = time.process_time()
    said = reason(bomb)
    seconds, memory = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert said == "the JPEG 2000 stream holds 20000 x 20000 pixels, the header says 512 x 512"
    assert seconds < 0.1 and memory < 50e6


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (dicom(encoded("JPEG"), 8, BASELINE, Rows=30, Columns=50), "the JPEG stream holds 40 x 30 pixels, the header says 50 x 30"),
        (dicom(encoded("JPEG"), 8, LS, Rows=30, Columns=50), "the JPEG-LS stream holds 40 x 30 pixels, the header says 50 x 30"),
        (dicom(encoded("JPEG", "RGB"), 8, BASELINE, Rows=30, Columns=40), "the JPEG stream has 3 samples a pixel, the header says 1"),
        (dicom(b"nothing.", 8, J2K, Rows=30, Columns=40), "the pixel data holds no JPEG 2000 stream"),
        (dicom(b"nothing.", 8, LOSSLESS, Rows=30, Columns=40), "the pixel data holds no JPEG lossless stream"),
        (dicom(bytes(64), 8, "1.2.840.10008.1.2.5", Rows=3000, Columns=4000), "the RLE data has 64 bytes, too few for 4000 x 3000 pixels"),
    ],
)  # fmt: skip
def test_streams_that_do_not_fit_the_header(content: bytes, expected: str) -> None:
    assert reason(content) == expected


def test_a_stream_of_more_than_sixteen_bits() -> None:
    stream = bytearray(encoded("JPEG2000", no_jp2=True))
    stream[42] = 23
    content = dicom(bytes(stream), 16, J2K, Rows=30, Columns=40)
    assert reason(content) == "the JPEG 2000 stream has 24 bits a sample, at most 16 are read"


def test_the_same_stream_with_its_own_size_is_read() -> None:
    for kind, syntax in (("JPEG", BASELINE), ("JPEG2000", J2K)):
        file = io.BytesIO()
        pixels = np.tile(np.arange(40, dtype=np.uint8) * 6, (30, 1))
        Image.fromarray(pixels).save(file, kind)
        picture = decode_picture(dicom(file.getvalue(), 8, syntax, Rows=30, Columns=40), 16, 1)
        assert (picture.width, picture.height) == (40, 30)
        assert np.ptp(picture.pixels) > 200
