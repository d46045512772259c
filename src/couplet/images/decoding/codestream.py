"""What a compressed picture says of its own size, read before a decoder believes it.

A JPEG 2000 file of 3.6 KB with a few changed bytes makes decoders build billions of samples. Markers are those of
ITU-T T.81 (JPEG), T.87 (JPEG-LS) and T.800 (JPEG 2000), annexes A and I.
"""

from __future__ import annotations

from typing import NamedTuple

# Start of frame: all C0 to CF but DHT, JPG and DAC, and JPEG-LS.
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
END, SCAN = 0xD9, 0xDA
CODESTREAM, BOXES = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "


class StreamSize(NamedTuple):
    """Of a picture: columns and rows in pixels, samples per pixel, bits per sample."""

    columns: int
    rows: int
    samples: int
    bits: int


def jpeg_size(stream: bytes) -> StreamSize | None:
    """The size in the frame header of any JPEG or JPEG-LS, or None if there is no frame before the first scan."""
    place = 2
    if not stream.startswith(b"\xff\xd8"):
        return None
    while place + 4 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == 0xFF:  # fill bytes
            place += 1
            continue
        if marker in (END, SCAN):
            return None
        if marker in FRAMES:
            header = stream[place + 4 : place + 10]
            rows, columns = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
            return StreamSize(columns, rows, header[5], header[0]) if len(header) == 6 else None
        place += 2 if marker in ALONE else 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return None


def jpeg2000_size(stream: bytes) -> StreamSize | None:
    """The size of a JPEG 2000 picture's image area, of a bare code stream or one in JP2 boxes; None without one."""
    start = _codestream(stream) if stream.startswith(BOXES) else 0
    header = stream[start : start + 4 + 39]
    if len(header) < 43 or not header.startswith(CODESTREAM):
        return None
    # SIZ: length and capabilities (2 bytes each), then Xsiz, Ysiz, XOsiz, YOsiz, tiles (4 x 4), Csiz, Ssiz.
    x, y, x0, y0 = (int.from_bytes(header[place : place + 4], "big") for place in range(8, 24, 4))
    samples = int.from_bytes(header[40:42], "big")
    return StreamSize(x - x0, y - y0, samples, (header[42] & 127) + 1)


def _codestream(stream: bytes) -> int:
    """Where the first box of type jp2c has its content; the end of the stream if there is none."""
    place = 0
    while place + 16 <= len(stream):
        length, kind = int.from_bytes(stream[place : place + 4], "big"), stream[place + 4 : place + 8]
        header = 8
        if length == 1:
            length, header = int.from_bytes(stream[place + 8 : place + 16], "big"), 16
        if kind == b"jp2c":
            return place + header
        if length < header:  # 0: to the end of the stream; less is damage
            break
        place += length
    return len(stream)
