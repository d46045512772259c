from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from couplet.images.decoding.decode import MAX_PIXELS, UnreadableImage, decode, decode_bytes


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(rows: Any, dtype: Any = np.uint8) -> Image.Image:
    return Image.fromarray(np.array(rows, dtype=dtype))


def pixels(content: bytes, size: int = 2, channels: int = 1) -> Any:
    array, _ = decode_bytes(content, size, channels)
    assert array.dtype == np.uint8 and array.shape == (channels, size, size) and array.flags.c_contiguous
    return array.tolist() if channels == 3 else array[0].tolist()


def png(width: int, height: int, *, depth: int = 8, kind: int = 0) -> bytes:
    """A PNG header that promises what its data does not hold."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_grey_is_kept_as_it_is_and_repeated_for_a_colour_store() -> None:
    content = encoded(grey([[0, 100], [200, 255]]))
    assert pixels(content) == [[0, 100], [200, 255]]
    assert pixels(content, channels=3) == [[[0, 100], [200, 255]]] * 3


def test_colour_keeps_its_channels_or_becomes_luminance() -> None:
    rows = [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]]
    content = encoded(grey(rows))
    assert pixels(content, channels=3) == np.array(rows).transpose(2, 0, 1).tolist()
    # 0.299 R + 0.587 G + 0.114 B: 76.2, 149.7, 29.1, 18.2
    assert pixels(content) == [[76, 150], [29, 18]]


def test_one_bit_and_palette_images() -> None:
    assert pixels(encoded(grey([[0, 255], [255, 0]]).convert("1"))) == [[0, 255], [255, 0]]
    palette = Image.new("P", (2, 2))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putdata([0, 1, 1, 0])
    assert pixels(encoded(palette), channels=3) == [[[0, 255], [255, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]


def test_an_opaque_alpha_channel_is_dropped_and_transparency_becomes_black() -> None:
    solid = grey([[[9, 9, 9, 255], [80, 80, 80, 255]]] * 2)
    assert pixels(encoded(solid)) == [[9, 80], [9, 80]]
    half = grey([[[200, 200, 200, 128], [200, 200, 200, 0]]] * 2)
    assert pixels(encoded(half)) == [[100, 0], [100, 0]]  # 200 * 128 / 255 = 100.4
    assert pixels(encoded(half.convert("LA"))) == [[100, 0], [100, 0]]


def test_a_transparent_palette_colour_becomes_black() -> None:
    palette = Image.new("P", (2, 2))
    palette.putpalette([50, 50, 50, 250, 250, 250])
    palette.putdata([0, 1, 1, 0])
    assert pixels(encoded(palette, transparency=1)) == [[50, 0], [0, 50]]


def test_cmyk_is_read_as_colour() -> None:
    content = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")  # full magenta and yellow: red
    assert pixels(content, channels=3) == [[[255, 255]] * 2, [[0, 0]] * 2, [[0, 0]] * 2]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize(
    ("highest", "full"), [(200, 255), (1000, 1023), (2100, 4095), (4095, 4095), (9000, 16383), (60000, 65535)]
)
def test_sixteen_bit_grey_is_scaled_by_the_depth_that_holds_its_maximum(
    kind: str, highest: int, full: int
) -> None:
    content = encoded(grey([[0, highest], [highest // 2, highest // 3]], np.uint16), kind)
    expected = [[0, highest], [highest // 2, highest // 3]]
    assert pixels(content) == [[round(value * 255 / full) for value in row] for row in expected]
    assert pixels(content, channels=3) == [pixels(content)] * 3


def test_a_big_endian_sixteen_bit_tiff() -> None:
    samples = np.array([[0, 4095], [2048, 1024]], ">u2")
    image = Image.frombytes("I;16B", (2, 2), samples.tobytes())
    assert pixels(encoded(image, "TIFF")) == [[0, 255], [128, 64]]


@pytest.mark.parametrize(
    ("rows", "dtype", "expected"),
    [
        ([[0.0, 1.0], [0.5, 0.25]], np.float32, [[0, 255], [128, 64]]),  # fractions
        ([[0.0, 200.5], [100.0, 3.0]], np.float32, [[0, 200], [100, 3]]),  # 8-bit values held as floats
        ([[-1000, 1000], [0, 500]], np.int32, [[0, 255], [128, 191]]),  # Hounsfield-like: stretched
        ([[0, 100_000], [50_000, 25_000]], np.int32, [[0, 255], [128, 64]]),
        ([[-3, -3], [-3, -3]], np.int32, [[0, 0], [0, 0]]),
        ([[0, 1], [1, 0]], np.int32, [[0, 1], [1, 0]]),
    ],
)
def test_float_and_signed_samples(rows: Any, dtype: Any, expected: Any) -> None:
    assert pixels(encoded(grey(rows, dtype), "TIFF")) == expected


def test_values_that_are_not_finite_are_refused() -> None:
    content = encoded(grey([[0.0, np.nan], [1.0, 2.0]], np.float32), "TIFF")
    with pytest.raises(UnreadableImage, match="values that are not finite"):
        decode_bytes(content, 2, 1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_honoured(kind: str, orientation: int) -> None:
    # Four large flat quarters survive lossy codecs; how they must lie is EXIF's own definition.
    a, b, c, d = 20, 90, 160, 230
    rows = np.kron([[a, b], [c, d]], np.ones((32, 64))).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    array, shape = decode_bytes(encoded(Image.fromarray(rows), kind, exif=exif, **options), 16, 1)
    upright = {
        1: [[a, b], [c, d]],
        2: [[b, a], [d, c]],
        3: [[d, c], [b, a]],
        4: [[c, d], [a, b]],
        5: [[a, c], [b, d]],
        6: [[c, a], [d, b]],
        7: [[d, b], [c, a]],
        8: [[b, d], [a, c]],
    }[orientation]
    assert np.abs(array[0, 4::8, 4::8].astype(int) - upright).max() <= 2
    assert shape == ((128, 64) if orientation < 5 else (64, 128))


@pytest.mark.filterwarnings("ignore")
def test_broken_exif_data_does_not_cost_the_image() -> None:
    content = encoded(grey([[5, 5], [5, 5]]), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\xff\xff")
    assert pixels(content) == [[5, 5], [5, 5]]


def test_the_extension_may_lie(tmp_path: Path) -> None:
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encoded(grey([[1, 2], [3, 4]])))
    array, shape = decode(path, 2, 1)
    assert (array.tolist(), shape) == ([[[1, 2], [3, 4]]], (2, 2))


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("L", (4, 4), value) for value in (40, 200)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels(content) == [[40, 40], [40, 40]]


@pytest.mark.parametrize(("width", "height"), [(1, 20000), (20000, 1), (1, 1), (3, 1000)])
def test_extreme_shapes_are_squashed(width: int, height: int) -> None:
    array, shape = decode_bytes(encoded(Image.new("L", (width, height), 77)), 16, 1)
    assert (array == 77).all() and array.shape == (1, 16, 16) and shape == (width, height)


def test_shrinking_averages_and_never_rings() -> None:
    # One white column in 64, to 2 columns: nearest or unfiltered sampling would lose it or give full white.
    rows = np.zeros((64, 64), np.uint8)
    rows[:, 10] = 255
    array, _ = decode_bytes(encoded(Image.fromarray(rows)), 2, 1)
    assert 0 < array[0, 0, 0] < 20
    step = np.zeros((300, 300), np.uint8) + 100
    step[:, 150:] = 180
    array, _ = decode_bytes(encoded(Image.fromarray(step)), 37, 1)
    assert array.min() == 100 and array.max() == 180


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (
            b"hello, world\n" * 100,
            "the file is no image of a known format (JPEG, PNG, TIFF, BMP, GIF, WEBP, ",
        ),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "the file is no image of a known format"),
        (png(0, 5), "the file is no image of a known format"),
        (png(50_000, 50_000), f"the image has more than {MAX_PIXELS} pixels"),
        (png(13_000, 13_500), "image file is truncated"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_image_gives_a_stable_reason(content: bytes, reason: str) -> None:
    for _ in range(2):
        with pytest.raises(UnreadableImage) as error:
            decode_bytes(content, 8, 1)
        assert str(error.value).startswith(reason)
        assert "0x" not in str(error.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [16, 400])
def test_truncated_files_are_refused_also_when_decoded_at_a_reduced_scale(
    kind: str, kept: float, size: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400)).astype(np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    with pytest.raises(UnreadableImage, match=r"^image file is truncated"):
        decode_bytes(content[: int(kept * len(content))], size, 1)


@pytest.mark.filterwarnings("ignore")
def test_bytes_that_went_wrong_anywhere_give_an_image_or_a_reason() -> None:
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (40, 50, 3)).astype(np.uint8))
    for kind in ("JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP", "PPM", "JPEG2000"):
        content = encoded(noise.convert("P") if kind == "GIF" else noise, kind)
        for _ in range(60):
            damaged = bytearray(content)
            for place in random.integers(0, min(len(damaged), 400), 3):
                damaged[place] = random.integers(0, 256)
            try:
                array, _ = decode_bytes(bytes(damaged), 8, 1)
            except UnreadableImage as error:
                assert str(error) and "0x" not in str(error)
            else:
                assert array.shape == (1, 8, 8)


def test_a_file_that_cannot_be_opened_is_not_an_unreadable_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "gone.png", 8, 1)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [380, 416])
def test_the_reduced_decode_stays_within_three_grey_levels_of_the_full_one(
    shared_data: Path, mode: str, size: int
) -> None:
    original = sorted((shared_data / "nih_cxr14" / "originals_1024").glob("*.png"))[0]
    noise = np.random.default_rng(0).normal(0, 4, (2500, 2000))
    with Image.open(original) as image:
        large = np.asarray(image.convert("L").resize((2000, 2500), Image.Resampling.BICUBIC)) + noise
    content = encoded(Image.fromarray(large.clip(0, 255).astype(np.uint8)).convert(mode), "JPEG", quality=92)
    with Image.open(io.BytesIO(content)) as image:
        full = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR).convert("L")
    array, shape = decode_bytes(content, size, 1)
    difference = np.abs(array[0].astype(int) - np.asarray(full))
    assert shape == (2000, 2500)
    assert difference.max() <= 3 and difference.mean() <= 0.3


def test_every_real_odd_file_decodes(shared_data: Path) -> None:
    files = [
        *(shared_data / "covid_cxr" / "images").iterdir(),
        *(shared_data / "nih_cxr14" / "rgba_originals").iterdir(),
        *(shared_data / "nih_cxr14" / "originals_1024").iterdir(),
    ]
    assert len(files) > 100
    for file in files:
        array, (width, height) = decode(file, 64, 1)
        with Image.open(file) as image:
            assert {width, height} == set(image.size)
            luminance = image.convert("RGB").convert("L").resize((64, 64), Image.Resampling.BILINEAR)
        assert array.std() > 5  # a picture, not a blank
        if "A" not in image.mode:
            assert np.abs(array[0].astype(int) - np.asarray(luminance)).mean() < 1
