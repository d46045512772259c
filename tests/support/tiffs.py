"""TIFF files byte by byte (TIFF 6.0), also such as Pillow does not write."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS, ORIENTATION = 256, 257, 258, 259, 262, 273, 274
SAMPLES, ROWS, BYTES, PLANAR, COLOURS, EXTRA, FORMAT = 277, 278, 279, 284, 320, 338, 339
RAW, JPEG, DEFLATE, PACKBITS = 1, 7, 8, 32773


def tiff(
    strips: Sequence[bytes],
    width: int,
    height: int,
    bits: Sequence[int],
    photometric: int,
    order: str = "<",
    **tags: int | Sequence[int],
) -> bytes:
    """A file of these strips; `order` is "<" or ">", and `tags` name more constants of this module in lower case."""
    places, at = [], 8
    for strip in strips:
        places.append(at)
        at += len(strip)
    entries: dict[int, Sequence[int]] = {
        WIDTH: [width],
        HEIGHT: [height],
        BITS: list(bits),
        COMPRESSION: [RAW],
        PHOTOMETRIC: [photometric],
        OFFSETS: places,
        SAMPLES: [len(bits)],
        ROWS: [height],
        BYTES: [len(strip) for strip in strips],
    }
    more = {globals()[name.upper()]: value for name, value in tags.items()}
    entries |= {tag: [value] if isinstance(value, int) else value for tag, value in more.items()}
    return _file(b"".join(strips), {tag: list(entries[tag]) for tag in sorted(entries)}, order)


def _file(data: bytes, entries: Mapping[int, list[int]], order: str) -> bytes:
    data += b"\0" * (len(data) % 2)
    start = 8 + len(data)
    directory, outside = struct.pack(order + "H", len(entries)), b""
    for tag, values in entries.items():
        kind = "I" if tag in (OFFSETS, BYTES, ROWS, WIDTH, HEIGHT) else "H"
        content = struct.pack(f"{order}{len(values)}{kind}", *values)
        directory += struct.pack(order + "HHI", tag, 4 if kind == "I" else 3, len(values))
        if len(content) <= 4:
            directory += content.ljust(4, b"\0")
        else:
            directory += struct.pack(order + "I", start + 2 + 12 * len(entries) + 4 + len(outside))
            outside += content + b"\0" * (len(content) % 2)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", start) + data + directory + bytes(4) + outside
