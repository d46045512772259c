from __future__ import annotations

import io
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from couplet.images.codec import EXPECTED_SHARE, FILES, SETTINGS, codec_fingerprint, decode_jpeg, encode
from couplet.images.decoding.decode import decode
from couplet.phantom.drawing import draw_image
from couplet.settings.schema.image import Codec


def through_jpeg(pixels: np.ndarray) -> tuple[np.ndarray, bytes]:
    stream, back = encode(pixels, "jpeg"), np.empty_like(pixels)
    decode_jpeg(stream, back)
    return back, stream


def errors(pixels: np.ndarray) -> np.ndarray:
    return np.abs(through_jpeg(pixels)[0].astype(int) - pixels)


def test_every_codec_has_files_and_settings() -> None:
    for table in (FILES, SETTINGS, EXPECTED_SHARE):
        assert set(table) == set(get_args(Codec))
    endings = [ending for names in FILES.values() for ending in names]
    assert len(set(endings)) == len(endings)
    assert codec_fingerprint("raw") != codec_fingerprint("jpeg")


def test_raw_is_the_pixels_themselves() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    assert encode(pixels, "raw") == bytes(range(48))


def test_a_drawn_x_ray_changes_by_less_than_a_grey_level_and_takes_a_third_of_the_space() -> None:
    for seed in range(4):
        drawn = Image.fromarray(draw_image(frozenset(["Cardiomegaly"]), "PA", seed=seed, size=448))
        pixels = np.asarray(drawn.resize((256, 256), Image.Resampling.BILINEAR))[None]
        difference = errors(pixels)
        assert difference.max() <= 10 and difference.mean() < 0.8
        assert len(encode(pixels, "jpeg")) < 0.3 * pixels.size


def test_real_x_rays(shared_data: Path) -> None:
    sizes, means = [], []
    for path in sorted((shared_data / "nih_cxr14/originals_1024").iterdir())[:12]:
        pixels, _ = decode(path, 416, 1)
        difference = errors(pixels)
        assert difference.max() <= 8
        means.append(difference.mean())
        sizes.append(len(encode(pixels, "jpeg")) / pixels.size)
    assert np.mean(means) < 0.6 and 0.15 < np.mean(sizes) < EXPECTED_SHARE["jpeg"]


def test_a_stream_is_what_pillow_itself_writes_at_quality_95() -> None:
    pixels = draw_image(frozenset(), "PA", seed=1, size=64)
    back, stream = through_jpeg(pixels[None])
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    assert stream == file.getvalue()
    np.testing.assert_array_equal(back[0], np.array(Image.open(io.BytesIO(stream))))


def test_colour_is_kept_in_full_resolution() -> None:
    """Lines one pixel wide that differ in colour and not in brightness: 4:2:0 would average them away."""
    pixels = np.empty((3, 64, 64), np.uint8)
    pixels[:, :, 0::2] = np.array([160, 90, 90])[:, None, None]
    pixels[:, :, 1::2] = np.array([90, 126, 90])[:, None, None]
    back, stream = through_jpeg(pixels)
    assert np.abs(back.astype(int) - pixels).max() <= 12
    with Image.open(io.BytesIO(stream)) as image:
        assert image.mode == "RGB"
        assert {component[1:3] for component in image.layer} == {(1, 1)}  # type: ignore[attr-defined]


def test_channels_keep_their_order() -> None:
    pixels = np.stack([np.full((16, 16), value, np.uint8) for value in (200, 100, 50)])
    assert errors(pixels).max() <= 1


@pytest.mark.parametrize(
    ("stream", "shape"),
    [
        (b"", (1, 16, 16)),
        (b"no image", (1, 16, 16)),
        (encode(np.zeros((1, 16, 16), np.uint8), "jpeg")[:-40], (1, 16, 16)),
        (encode(np.zeros((1, 16, 16), np.uint8), "jpeg"), (1, 32, 8)),
        (encode(np.zeros((1, 16, 16), np.uint8), "jpeg"), (3, 16, 16)),
        (encode(np.zeros((3, 16, 16), np.uint8), "jpeg"), (1, 16, 16)),
    ],
)
def test_what_is_no_such_jpeg_is_refused(stream: bytes, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no JPEG of"):
        decode_jpeg(stream, np.empty(shape, np.uint8))
