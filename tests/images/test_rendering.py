from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

from couplet.images.decoding.picture import UnreadableImage
from couplet.images.decoding.rendering import Look, Lut, Window, equalized, grey_table, render
from tests.support.dicoms import lut

DRAWN = np.random.default_rng(0)


def opencv(levels: list[int]) -> list[int]:
    """`equalizeHist`, in plain loops, as OpenCV's documentation and source define it."""
    histogram = [0] * 256
    for level in levels:
        histogram[level] += 1
    first = 0
    while histogram[first] == 0:
        first += 1
    total = len(levels)
    if histogram[first] == total:
        return [first] * total
    scale = 255 / (total - histogram[first])
    table, running = [0] * 256, 0
    for level in range(first + 1, 256):
        running += histogram[level]
        table[level] = round(running * scale)  # cvRound: halves to the even number, as Python's
    return [table[level] for level in levels]


@pytest.mark.parametrize(
    "levels",
    [
        DRAWN.integers(0, 256, 500).tolist(),
        DRAWN.normal(120, 15, 999).clip(0, 255).astype(int).tolist(),
        (255 * DRAWN.beta(0.3, 3, 700)).astype(int).tolist(),
        [0, 0, 0, 255],
        [17, 200],
        [9] * 7,
        [3, 4, 5, 5],
    ],
)
def test_equalisation_is_opencvs(levels: list[int]) -> None:
    table = equalized(np.bincount(levels, minlength=256))
    assert table[levels].tolist() == opencv(levels)


def test_equalize_is_the_stretch_rounded_down_turned_around_and_equalised_without_the_padding() -> None:
    stored = DRAWN.integers(100, 3000, (20, 30)).astype(np.uint16)
    stored[:4] = 4095
    look = Look(12, inverted=True, padding=(4095, 4095))
    low, high = int(stored[4:].min()), int(stored[4:].max())
    levels = [255 - int((int(value) - low) * 255 / (high - low)) for value in stored[4:].ravel()]
    expected = np.zeros((20, 30), int)
    expected[4:] = np.reshape(opencv(levels), (16, 30))
    got = render(stored, look, "equalize")
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(2048, 1024), (100.5, 3.5), (-40, 400), (4000, 9000)])
def test_windows_against_pydicom(function: str, center: float, width: float) -> None:
    header = Dataset()
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = center, width, function
    header.PhotometricInterpretation, header.PixelRepresentation, header.BitsStored = "MONOCHROME2", 0, 12
    values = np.arange(4096)
    expected = apply_windowing(values, header).astype(np.float64) * (255 / 4095)
    np.testing.assert_allclose(Window(center, width, function).apply(values), expected, atol=1e-9)


def test_tables_against_pydicom() -> None:
    header = Dataset()
    header.VOILUTSequence = lut(300, 12, DRAWN.integers(0, 4096, 700).tolist())
    header.ModalityLUTSequence = lut(20, 16, DRAWN.integers(0, 65536, 1000).tolist())
    values = np.arange(0, 2000)
    for name, apply in (("VOILUTSequence", apply_voi), ("ModalityLUTSequence", apply_modality_lut)):
        n, first, bits = header[name].value[0].LUTDescriptor
        ours = Lut(first, bits, np.array(header[name].value[0].LUTData))
        assert len(ours.entries) == n
        np.testing.assert_array_equal(ours.apply(values), apply(values, header))


def plain_steps(value: int, look: Look, low: float, high: float) -> float:
    """voi and minmax in plain steps, for one stored value that is no padding."""
    rescaled = value * look.slope + look.intercept
    if isinstance(look.voi, Window):
        share = (rescaled - (look.voi.center - 0.5)) / (look.voi.width - 1) + 0.5
        grey = 255 * min(max(share, 0), 1)
    else:
        grey = (rescaled - low) * 255 / (high - low)
    return 255 - grey if look.inverted else grey


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("voi", [None, Window(40, 300)])
@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16])
def test_every_pixel_against_plain_steps(kind: Any, voi: Window | None, inverted: bool) -> None:
    limits = np.iinfo(kind)
    stored = DRAWN.integers(limits.min, limits.max + 1, (40, 30)).astype(kind)
    stored[0, :2] = limits.min, limits.max
    signed = stored.dtype.kind == "i"
    look = Look(limits.bits, signed, 1.5, -200, voi=voi, inverted=inverted, padding=(5, 9))
    used = stored[(stored < 5) | (stored > 9)] * 1.5 - 200
    low, high = float(used.min()), float(used.max())
    expected = [
        0 if 5 <= value <= 9 else plain_steps(int(value), look, low, high) for value in stored.ravel()
    ]
    np.testing.assert_allclose(render(stored, look, "voi").ravel(), expected, atol=1e-4)


def test_what_does_not_occur_does_not_matter() -> None:
    levels = np.arange(0, 1001)
    counts = np.zeros(1001, int)
    counts[[100, 500, 900]] = 1
    table = grey_table(levels, counts, Look(12), "minmax")
    assert table[[100, 500, 900]].tolist() == [0, 127.5, 255]
    assert table.min() == 0 and table.max() == 255


@pytest.mark.parametrize(
    ("stored", "look", "why"),
    [
        (np.full((2, 2), 7, np.uint16), Look(12), "one grey level only"),
        (np.array([[7, 9]], np.uint16), Look(12, padding=(7, 9)), "one grey level only"),
        (np.array([[1, 2]], np.uint16), Look(12, slope=np.nan), "not finite"),
        (np.array([[0, 70_000]], np.int32), Look(16), "more than 16 bits"),
    ],
)
def test_refusals(stored: np.ndarray, look: Look, why: str) -> None:
    with pytest.raises(UnreadableImage, match=why):
        render(stored, look, "voi")


def test_a_threshold_and_an_infinite_slope_of_a_sigmoid() -> None:
    step: Callable[[Any], Any] = Window(100, 1).apply
    assert step(np.array([99, 99.5, 99.6, 100])).tolist() == [0, 0, 255, 255]
    steep = Window(0, 1e-3, "SIGMOID").apply(np.array([-4096.0, 0, 4096]))
    assert steep.tolist() == [0, 127.5, 255]
