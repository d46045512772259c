"""Whether a file is a picture, by its content: what `couplet predict` gives a row, and what it passes over."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from couplet.images.decoding.decode import FORMATS, is_dicom

HEAD = 4096  # bytes that are looked at
# At a file's beginning. A damaged picture still has it, and one of a kind that is not read is told so.
BEGINNINGS = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"II*\0",  # TIFF
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"GIF87a",
    b"GIF89a",
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000
    b"\xff\x4f\xff\x51",
    b"\xff\x0a",  # JPEG XL
    b"\0\0\0\x0cJXL ",
    b"version https://git-lfs",  # stands for a file that was not fetched
)
BRANDS = (b"heic", b"heix", b"mif1", b"avif", b"avis")  # of HEIF and AVIF; other brands are films


def is_picture(path: Path) -> bool:
    """Whether the content is DICOM or begins as pictures do, whether or not it can be read to its end.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
        if is_dicom(head) or head.startswith(BEGINNINGS):
            return True
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return True
        if head[4:8] == b"ftyp":
            return head[8:12] in BRANDS
        # The rest (BMP, PPM) begins with letters that text may begin with: their whole header must be right.
        file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                Image.open(file, formats=FORMATS)
        except Image.DecompressionBombError:
            return True
        except Exception:  # Pillow's parsers raise nearly anything on other files
            return False
        return True
