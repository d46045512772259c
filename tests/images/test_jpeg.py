"""JPEGs that were cut and closed with an end marker, and all that must not be taken for such."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from couplet.images.decoding.decode import UnreadableImage, decode_bytes
from couplet.images.decoding.jpeg import CUT, END, FEW_SCANS, read_frame

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(0, 1, (320, 240)).cumsum(axis=1) * 3 + RANDOM.normal(128, 4, (320, 240))
GREY = Image.fromarray(NOISE.clip(0, 255).astype(np.uint8))
COLOUR = Image.merge("RGB", (GREY, GREY.rotate(180), GREY.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
MODES = {"grey": GREY, "colour": COLOUR, "CMYK": COLOUR.convert("CMYK")}
KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "optimised": {"optimize": True, "quality": 30},
    "best": {"quality": 100, "subsampling": 0},
    "restarts": {"restart_marker_rows": 2},
    "a restart at every block": {"restart_marker_blocks": 1},
    "progressive": {"progressive": True},
    "progressive with restarts": {"progressive": True, "restart_marker_blocks": 7, "subsampling": 1},
}


REASONS = (CUT, FEW_SCANS, "image file is truncated")  # the last when it is cut between two scans


def encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def plain(content: bytes, size: int, channels: int) -> np.ndarray:
    """What Pillow reads by itself, in the way of `decode_bytes`."""
    mode = "L" if channels == 1 else "RGB"
    with Image.open(io.BytesIO(content)) as image:
        drafted = image.draft(mode, (2 * size, 2 * size))
        assert drafted is not None
        image = image.convert(mode).resize((size, size), Image.Resampling.BILINEAR, drafted[1])
    return np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1)


def reason(content: bytes, size: int = 32) -> str:
    with pytest.raises(UnreadableImage) as error:
        decode_bytes(content, size, 1)
    return re.sub(r" \(\d+ bytes not processed\)", "", str(error.value))


def cut(content: bytes, place: int) -> bytes:
    """The beginning, closed with an end marker."""
    return content[:place].rstrip(b"\xff") + END


def scans(content: bytes) -> list[int]:
    """Where each scan begins; in files of Pillow's nothing else contains this marker."""
    return [found.start() for found in re.finditer(b"\xff\xda", content)]


@pytest.mark.parametrize("size", [16, 400])  # at a reduced scale, and at the full one
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_a_cut_jpeg_with_an_end_marker_is_refused_and_a_whole_one_reads_as_ever(
    mode: str, kind: str, size: int
) -> None:
    content = encoded(MODES[mode], **KINDS[kind])
    for channels in (1, 3):
        np.testing.assert_array_equal(
            decode_bytes(content, size, channels)[0], plain(content, size, channels)
        )
    first, last = scans(content)[0] + 20, len(content) - 150  # less is a few blocks of 8 x 8 pixels
    for place in np.linspace(first, last, 12).astype(int).tolist():
        if mode == "CMYK" and place > scans(content)[-1]:
            continue  # black is flat: its last scan is two bytes, and nothing of it can be missing
        assert reason(cut(content, place), size) in REASONS
    assert reason(cut(content, len(content) // 2), size) in REASONS[:2]


def test_half_of_a_progressive_jpeg_lacks_scans() -> None:
    content = encoded(GREY, progressive=True)
    assert reason(content[: scans(content)[2]] + END) == FEW_SCANS  # cut exactly between two scans


def test_a_scan_of_one_colour_that_is_missing() -> None:
    """Sequential, a scan per colour: the frame of a baseline file with the scans of three grey ones."""
    parts = [encoded(Image.fromarray(np.full((16, 16), 40 * i, np.uint8))) for i in (1, 2, 3)]
    with_tables, codes = parts[0], [part[scans(part)[0] : -2] for part in parts]
    frame = with_tables.index(b"\xff\xc0")
    components = b"".join(bytes([i, 0x11, 0]) for i in (1, 2, 3))
    start = with_tables[:frame] + b"\xff\xc0\0\x11" + with_tables[frame + 4 : frame + 9] + b"\3" + components
    tables = with_tables[frame + 13 : scans(with_tables)[0]]
    named = [code[:5] + bytes([i]) + code[6:] for i, code in zip((1, 2, 3), codes, strict=True)]
    whole = start + tables + b"".join(named) + END
    np.testing.assert_array_equal(decode_bytes(whole, 8, 3)[0], plain(whole, 8, 3))
    assert reason(start + tables + b"".join(named[:2]) + END) == CUT


def test_restart_intervals_that_are_missing_in_the_middle() -> None:
    content = encoded(GREY, restart_marker_rows=2)
    markers = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", content[scans(content)[0] :])]
    first, later = (scans(content)[0] + markers[i] for i in (2, 10))  # RST2 and the next RST2
    assert reason(content[:first] + content[later:]) == CUT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "after",
    [
        b"\0",
        b"\0" * 5000,
        b"\r\n",
        END,
        b"\xff" * 9,
        b"trailer \xff\xda\0\x08 \xff\xd8\xff\xe0",
        encoded(GREY),
    ],
)
def test_what_follows_the_end_marker_does_not_matter(kind: str, after: bytes) -> None:
    content = encoded(COLOUR, **KINDS[kind])
    np.testing.assert_array_equal(decode_bytes(content + after, 40, 3)[0], plain(content, 40, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_before_the_end_marker_do_not_matter_either(kind: str) -> None:
    """Some writers fill up to a whole word."""
    content = encoded(COLOUR, **KINDS[kind])
    for filling in (b"\0", b"\0" * 7, b"\xff", b"\xff\xff\xff"):
        filled = content[:-2] + filling + END
        np.testing.assert_array_equal(decode_bytes(filled, 40, 3)[0], plain(content, 40, 3))


def test_a_thumbnail_in_the_exif_data_is_not_the_picture() -> None:
    exif = Image.Exif()
    exif[0x010E] = "with a thumbnail"
    thumbnail = b"Exif\0\0" + exif.tobytes() + encoded(GREY.resize((60, 80)))
    content = encoded(GREY, exif=thumbnail)
    np.testing.assert_array_equal(decode_bytes(content, 40, 1)[0], plain(content, 40, 1))
    assert reason(cut(content, len(content) // 2)) == CUT


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_the_first_picture_of_a_multi_picture_file(options: dict[str, Any]) -> None:
    file = io.BytesIO()
    GREY.save(file, "MPO", save_all=True, append_images=[GREY.rotate(180)], **options)
    content = file.getvalue()
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "MPO"
    np.testing.assert_array_equal(decode_bytes(content, 40, 1)[0], plain(encoded(GREY, **options), 40, 1))


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (9, 7), (17, 33), (2000, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_small_and_odd_sizes(shape: tuple[int, int], kind: str) -> None:
    for image in (GREY, COLOUR):
        content = encoded(image.resize(shape), **KINDS[kind])
        np.testing.assert_array_equal(decode_bytes(content, 16, 3)[0], plain(content, 16, 3))


def test_a_jpeg_without_an_end_is_no_frame() -> None:
    content = encoded(GREY)
    assert read_frame(content[:-2]) is None
    assert reason(content[: len(content) // 2]) == "image file is truncated"


def test_every_real_jpeg_is_whole(shared_data: Path) -> None:
    files = [path for path in shared_data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    contents = [content for path in files if (content := path.read_bytes()).startswith(b"\xff\xd8")]
    assert len(contents) > 1000
    for content in contents:
        np.testing.assert_array_equal(decode_bytes(content, 48, 3)[0], decode_bytes(content + END, 48, 3)[0])
        assert read_frame(content) is not None
