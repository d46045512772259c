"""What a file is that cannot be read as an image, and how to make one of it that can."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import TiffImagePlugin, features

from couplet.images.decoding.jpeg import frame_header
from couplet.images.decoding.tiff import BITS, FORMAT, PHOTOMETRIC, SAMPLES, WHITE_IS_ZERO

HOW = "convert it to 8-bit JPEG, or to 8- or 16-bit PNG (docs/datasets.md, Image files)"
# What stands at the beginning of files that are taken for images.
BEGINNINGS = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "compressed with gzip",
    b"NRRD0": "NRRD",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself",
}
# JPEG frames (ITU-T T.81, table B.1, and T.87) that are no 8-bit Huffman code.
FRAMES = {0xC3: "lossless JPEG", 0xF7: "JPEG-LS"}


def describe(content: bytes, formats: Sequence[str]) -> str:
    """Say in one line what the file is, as far as its beginning tells, and what to do about it."""
    if content.startswith(b"\xff\xd8") and (frame := frame_header(content)):
        marker, bits = frame
        kind = FRAMES.get(marker, "JPEG")
        if bits != 8 or marker in FRAMES:
            return f"the file is {kind} of {bits} bits a sample: {HOW}"
    if content.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")) and not features.check("jpg_2000"):
        return f"the file is JPEG 2000, which this Pillow was built without: {HOW}"
    if content[4:8] == b"ftyp":
        return f"the file is HEIF, AVIF or a film: {HOW}"
    if content.startswith(tuple(TiffImagePlugin.PREFIXES)) and (kind := _tiff_kind(content)):
        return f"the file is TIFF of a kind that is not read ({kind}): {HOW}"
    for beginning, kind in BEGINNINGS.items():
        if content.startswith(beginning):
            remedy = "fetch it with `git lfs pull`" if "LFS" in kind else HOW
            return f"the file is {kind}: {remedy}"
    return f"the file is no image of a known format ({', '.join(formats)})"


def _tiff_kind(content: bytes) -> str:
    """Bits, samples, order of bytes and meaning of zero of the first page, or nothing if it is damaged."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(content[: 16 if content[2:4] in (b"\0+", b"+\0") else 8])
        file = io.BytesIO(content)
        file.seek(tags.next)
        tags.load(file)
        width, height = tags[256], tags[257]
        bits, samples = tags.get(BITS, (1,))[0], tags.get(SAMPLES, 1)
        kind = {1: "whole numbers", 2: "signed numbers", 3: "fractions"}[tags.get(FORMAT, (1,))[0]]
        negative = ", white is zero" if tags.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO else ""
    except Exception:  # Pillow's parsers raise nearly anything on damaged input
        return ""
    order = "big" if content.startswith(b"MM") else "little"
    return f"{width} x {height}, {samples} x {bits} bits, {kind}{negative}, {order}-endian"
