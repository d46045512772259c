"""DICOM files that the tests write themselves, against values worked out by hand."""

from __future__ import annotations

import hashlib
import io
import struct
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from couplet.images.decoding import decode as decode_module
from couplet.images.decoding.decode import (
    MissingExtra,
    UnreadableImage,
    UnsuitableImage,
    decode_bytes,
    decode_picture,
)
from couplet.images.decoding.dicom import read_dicom
from couplet.images.decoding.picture import CHEST, Facts
from tests.support.dicoms import RAMP, dicom, lut


def grey(content: bytes, rendering: Any = "voi") -> Any:
    """Grey levels to a tenth, before the picture is squashed."""
    return read_dicom(content, rendering, 10**6).grey.astype(float).round(1)


def ramp(content: bytes, rendering: Any = "voi") -> list[float]:
    return grey(content, rendering)[0].tolist()


def reason(content: bytes, kind: type[Exception] = UnreadableImage, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        decode_picture(content, 4, 1, **options)
    assert type(caught.value) is kind
    return str(caught.value)


# --- windows and tables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", [0, 0, 127.6, 255, 255]),
        ("LINEAR_EXACT", [0, 0, 127.5, 255, 255]),
        ("SIGMOID", [0.1, 4.6, 127.5, 250.4, 254.9]),
        ("", [0, 0, 127.6, 255, 255]),
        ("ODD", [0, 0, 127.6, 255, 255]),
    ],
)
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_window_functions(function: str, expected: list[float], syntax: str) -> None:
    tags = {"WindowCenter": 2048, "WindowWidth": 1024, "VOILUTFunction": function}
    assert ramp(dicom(RAMP, 12, syntax, **tags)) == expected


def test_a_narrow_and_a_wide_window() -> None:
    assert ramp(dicom(RAMP, 12, WindowCenter=2048, WindowWidth=1)) == [0, 0, 255, 255, 255]
    # From 0 to 8,160 in fractions of the width: (x - 4080) / 8160 + 0.5.
    exact = {"WindowCenter": 4080, "WindowWidth": 8160, "VOILUTFunction": "LINEAR_EXACT"}
    assert ramp(dicom(RAMP, 12, **exact)) == [0, 32, 64, 96, 127.5]


def test_the_first_of_two_windows() -> None:
    tags = {"WindowCenter": [2048, 100], "WindowWidth": [1024, 50]}
    assert ramp(dicom(RAMP, 12, **tags)) == [0, 0, 127.6, 255, 255]


STRETCHED = [0, 64, 128, 192, 255]  # of 0 to 4,080


@pytest.mark.parametrize(
    ("center", "width", "function"),
    [
        (2048, 0, "LINEAR"),
        (2048, 0.5, "LINEAR"),
        (2048, 0, "SIGMOID"),
        (2048, -5, "LINEAR_EXACT"),
        ([2048, 2048], [0, 1024], "LINEAR"),
        ("", "", "LINEAR"),
        (2048, "", "LINEAR"),
        ("", 1024, "LINEAR"),
        ([], 1024, "LINEAR"),
    ],
)
def test_a_window_that_is_not_valid_is_none(center: Any, width: Any, function: str) -> None:
    content = dicom(RAMP, 12, WindowCenter=center, WindowWidth=width, VOILUTFunction=function)
    assert ramp(content) == STRETCHED
    assert ramp(dicom(RAMP, 12)) == STRETCHED
    assert ramp(dicom(RAMP, 12, WindowCenter=2048)) == STRETCHED


@pytest.mark.parametrize("text", [b"nan", b"abc", b"1e999", b"inf"])
def test_a_window_whose_text_is_no_number_is_none(text: bytes) -> None:
    content = dicom(RAMP, 12, WindowCenter="2048", WindowWidth="10240")
    assert content.count(b"10240 ") == 1
    assert ramp(content.replace(b"10240 ", text.ljust(6))) == STRETCHED


def test_the_window_is_in_rescaled_units() -> None:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 3096, "WindowWidth": 2048}
    # 2 * 2048 - 1000 = 3096; (3096 - 3095.5) / 2047 + 0.5 of 255 is 127.56.
    assert ramp(dicom(RAMP, 12, **tags)) == [0, 0, 127.6, 255, 255]
    assert ramp(dicom(RAMP, 12, RescaleSlope=2, RescaleIntercept=-1000), "minmax") == STRETCHED


def test_a_falling_rescale_turns_the_picture_around() -> None:
    # -4080 is the smallest value: 0 becomes (0 + 4080) / 4080 of 255.
    assert ramp(dicom(RAMP, 12, RescaleSlope=-1, RescaleIntercept=0)) == [255, 191, 127, 63, 0]


@pytest.mark.parametrize("tag", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescale_that_is_not_finite(tag: str) -> None:
    tags = {"RescaleSlope": "1", "RescaleIntercept": "0"} | {tag: "123456"}
    for text in (b"nan", b"inf", b"abc", b"1e400", b"1e307"):  # 1e307 times 4,080 is infinite
        content = dicom(RAMP, 12, **tags).replace(b"123456", text.ljust(6), 1)
        if (tag, text) != ("RescaleIntercept", b"1e307"):
            assert reason(content) == "its rescaled values are not finite"


def test_a_voi_lut_goes_before_the_window_and_its_range_is_the_grey_range() -> None:
    # Of ten bits, so 1,023 is white; values below 1,000 take the first entry, those from 1,002 on the last.
    table = lut(1000, 10, [0, 341, 1023])
    pixels = np.array([[0, 1000, 1001, 1002, 4000]], np.uint16)
    tags = {"VOILUTSequence": table, "WindowCenter": 1, "WindowWidth": 1}
    assert ramp(dicom(pixels, 12, **tags)) == [0, 0, 85, 255, 255]
    assert ramp(dicom(pixels, 12, ImplicitVRLittleEndian, **tags)) == [0, 0, 85, 255, 255]
    assert ramp(dicom(pixels, 12, ExplicitVRBigEndian, **tags)) == [0, 0, 85, 255, 255]


def test_a_modality_lut_replaces_the_rescale() -> None:
    table = lut(0, 16, [10, 30, 20])
    pixels = np.array([[0, 1, 2, 3]], np.uint8)
    tags = {"ModalityLUTSequence": table, "RescaleSlope": 7, "RescaleIntercept": 1}
    # 10, 30, 20, 20 from 10 to 30.
    assert ramp(dicom(pixels, **tags)) == [0, 255, 127.5, 127.5]


def test_a_table_that_starts_below_zero() -> None:
    pixels = np.array([[-3, -2, -1, 5]], np.int16)
    table = lut(-2, 8, [0, 255])
    assert ramp(dicom(pixels, 16, VOILUTSequence=table)) == [0, 0, 255, 255]


def test_a_damaged_table_is_named() -> None:
    item = lut(0, 16, [1, 2, 3])
    item[0].LUTDescriptor = [5, 0, 16]
    assert reason(dicom(RAMP, 12, VOILUTSequence=item)) == "its VOILUTSequence is damaged"
    del item[0].LUTDescriptor
    assert reason(dicom(RAMP, 12, ModalityLUTSequence=item)) == "its ModalityLUTSequence is damaged"


# --- polarity and padding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "", False),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME1", "INVERSE", True),  # the usual pair: once, not twice
        ("MONOCHROME2", "INVERSE", True),
    ],
)
@pytest.mark.parametrize("rendering", ["voi", "minmax", "equalize"])
def test_a_negative_is_turned_around_once(
    photometric: str, shape: str, inverted: bool, rendering: str
) -> None:
    tags = {"PhotometricInterpretation": photometric, "PresentationLUTShape": shape}
    plain = ramp(dicom(RAMP, 12), rendering)
    expected = [255 - level for level in plain] if inverted else plain
    if inverted and rendering == "equalize":
        # Equalised after it was turned around: 127.5 becomes 128 either way.
        expected = [
            255,
            191,
            128,
            64,
            0,
        ]
    assert ramp(dicom(RAMP, 12, **tags), rendering) == expected


def test_padding_is_black_whatever_the_polarity_and_does_not_stretch() -> None:
    pixels = np.array([[4095, 0, 1000, 2000]], np.uint16)
    for photometric, expected in (("MONOCHROME2", [0, 0, 127.5, 255]), ("MONOCHROME1", [0, 255, 127.5, 0])):
        content = dicom(pixels, 12, PhotometricInterpretation=photometric, PixelPaddingValue=4095)
        assert ramp(content, "minmax") == expected
        assert ramp(content) == expected


@pytest.mark.parametrize("ends", [(3000, 4095), (4095, 3000)])
def test_a_range_of_padding_in_either_order(ends: tuple[int, int]) -> None:
    pixels = np.array([[4095, 3000, 3500, 0, 2000]], np.uint16)
    content = dicom(pixels, 12, PixelPaddingValue=ends[0], PixelPaddingRangeLimit=ends[1])
    assert ramp(content) == [0, 0, 0, 0, 255]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_padding_is_read_with_the_sign_of_the_pixels(syntax: str) -> None:
    pixels = np.array([[-2000, -1000, 1000]], np.int16)
    content = dicom(pixels, 16, syntax, PixelPaddingValue=-2000)
    assert ramp(content) == [0, 0, 255]
    assert ramp(dicom(pixels, 16, syntax)) == [0, 85, 255]


# --- bits -------------------------------------------------------------------------------------------------------


def test_unused_high_bits_are_cleared() -> None:
    assert ramp(dicom(RAMP | 0x8000, 12)) == STRETCHED
    signed = np.array([[-1000, 0, 1000]], np.int16)
    assert ramp(dicom(signed & 0x0FFF, 12)) == [0, 127.5, 255]


def test_eight_plain_bits_are_grey_levels_already() -> None:
    pixels = np.array([[3, 40, 250]], np.uint8)
    assert ramp(dicom(pixels)) == [3, 40, 250]
    assert ramp(dicom(pixels, PhotometricInterpretation="MONOCHROME1")) == [252, 215, 5]
    assert ramp(dicom(pixels, WindowCenter=128, WindowWidth=256)) == [3, 40, 250]
    assert ramp(dicom(pixels), "minmax") == [0, 38.2, 255]
    for content in (dicom(pixels), dicom(pixels, WindowCenter=128, WindowWidth=256)):
        assert read_dicom(content, "voi", 100).grey.dtype == np.uint8
    assert read_dicom(dicom(RAMP, 12), "voi", 100).grey.dtype == np.float32


def test_fewer_bits_than_eight_are_stretched() -> None:
    assert ramp(dicom(np.array([[0, 1, 1]], np.uint8), 1)) == [0, 255, 255]
    assert ramp(dicom(np.array([[0, 32, 64]], np.uint8), 7)) == [0, 127.5, 255]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [5, 16, 40, 70])
def test_a_dicom_of_eight_bits_and_a_png_of_the_same_pixels_give_the_same_bytes(
    channels: int, size: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 61)).astype(np.uint8)
    colours = np.random.default_rng(1).integers(0, 256, (37, 61, 3)).astype(np.uint8)
    for array in (pixels, colours):
        file = io.BytesIO()
        Image.fromarray(array).save(file, "PNG")
        expected = decode_bytes(file.getvalue(), size, channels)
        got = decode_bytes(dicom(array), size, channels)
        np.testing.assert_array_equal(got[0], expected[0])
        assert got[1] == expected[1] == (61, 37)
    negative = dicom(255 - pixels, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    np.testing.assert_array_equal(decode_bytes(negative, size, 1)[0], decode_bytes(dicom(pixels), size, 1)[0])


def test_colour_of_sixteen_bits_is_scaled_by_its_stored_bits() -> None:
    pixels = np.zeros((2, 2, 3), np.uint16)
    pixels[0, 0] = (4095, 0, 0)
    pixels[1, 1] = (2048, 2048, 2048)
    got = decode_bytes(dicom(pixels, 12), 2, 1)[0][0]
    assert got.tolist() == [[76, 0], [0, 128]]
    assert decode_bytes(dicom(pixels, 12), 2, 3)[0][0].tolist() == [[255, 0], [0, 128]]


def test_the_digits_do_not_follow_from_the_encoding() -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (31, 17)).astype(np.uint16)
    first = decode_bytes(dicom(pixels, 12), 9, 1)[0]
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
        np.testing.assert_array_equal(decode_bytes(dicom(pixels, 12, syntax), 9, 1)[0], first)


# --- what is told -----------------------------------------------------------------------------------------------


def test_facts() -> None:
    tags = {
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "BurnedInAnnotation": "YES",
        "StudyInstanceUID": "1.2.3",
    }
    content = dicom(RAMP, 12, **tags)
    picture = decode_picture(content, 4, 1, "minmax")
    assert (picture.width, picture.height, picture.dicom, picture.unsuitable) == (5, 1, True, "")
    assert picture.facts == Facts("frontal", "PA", "minmax", "MONOCHROME2", "DX", "L\\F", True, "")
    with_study = decode_picture(content, 4, 1, with_study=True).facts
    assert with_study.study == hashlib.sha256(b"1.2.3").hexdigest()[:16]
    assert decode_picture(dicom(RAMP, 12), 4, 1).facts == Facts("", "", "voi", "MONOCHROME2", "DX")


@pytest.mark.parametrize(
    ("position", "view"),
    [
        *((name, "frontal") for name in ("AP", "PA")),
        *((name, "lateral") for name in ("LL", "RL", "LATERAL", "LLO")),
        ("RLO", ""),
        ("", ""),
    ],
)
def test_views(position: str, view: str) -> None:
    facts = decode_picture(dicom(RAMP, 12, ViewPosition=position), 4, 1).facts
    assert (facts.view, facts.view_position) == (view, position if view else "")


def test_a_file_that_is_no_dicom_has_no_facts() -> None:
    file = io.BytesIO()
    Image.new("L", (8, 6), 3).save(file, "PNG")
    picture = decode_picture(file.getvalue(), 4, 1)
    assert (picture.facts, picture.dicom, picture.width, picture.height) == (Facts(), False, 8, 6)


# --- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag",
    [
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PhotometricInterpretation",
    ],
)
def test_a_missing_tag_is_named(tag: str) -> None:
    assert reason(dicom(RAMP, 12, remove=(tag,))) == f"{tag} is missing"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"HighBit": 15}, "HighBit 15 does not fit 12 stored bits"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR is no grey picture"),
        ({"PhotometricInterpretation": "CMYK"}, "pixels of the kind CMYK are not read"),
        ({"PhotometricInterpretation": "Marker-7f3"}, "pixels of the kind of an unknown name are not read"),
        ({"SamplesPerPixel": 2}, "MONOCHROME2 does not have 2 samples a pixel"),
        ({"PresentationLUTSequence": lut(0, 16, [1, 2])}, "a Presentation LUT Sequence is not applied"),
        ({"Rows": 20_000, "Columns": 20_000}, "the image has more than 178956970 pixels"),
        ({"Rows": 0}, "it has 5 x 0 pixels"),
        ({"Columns": 6}, "the pixel data has 10 bytes, 12 are needed"),
        ({"BitsStored": 17, "HighBit": 16}, "17 of 16 bits are not read, at most 16 are"),
        ({"BitsAllocated": 24}, "12 of 24 bits are not read, at most 16 are"),
        ({"PixelData": b""}, "it has no pixel data"),
        ({"FloatPixelData": b"\0" * 20}, "float pixel data is not read"),
        ({"WindowCenter": 9000, "WindowWidth": 10}, "the picture has one grey level only"),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "the picture has one grey level only"),
    ],
)  # fmt: skip
def test_what_is_not_read_says_why(tags: dict[str, Any], expected: str) -> None:
    assert reason(dicom(RAMP, 12, **tags)) == expected


def test_a_number_of_frames_that_is_none() -> None:
    content = dicom(RAMP, 12, NumberOfFrames="77").replace(b"77", b"x ", 1)
    assert reason(content) == "NumberOfFrames is no number"


def test_a_blank_picture() -> None:
    for pixels in (np.full((4, 4), 700, np.uint16), np.zeros((3, 3, 3), np.uint8)):
        assert reason(dicom(pixels)) == "the picture has one grey level only"
    all_padding = dicom(np.full((4, 4), 700, np.uint16), PixelPaddingValue=700)
    assert reason(all_padding, rendering="equalize") == "the picture has one grey level only"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"NumberOfFrames": 30}, "30 frames, single pictures are read"),
        ({"NumberOfFrames": 0}, "0 frames, single pictures are read"),
        ({"Modality": "CT"}, "modality CT"),
        ({"Modality": "Marker-7f3"}, "modality of an unknown name"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "raw detector data (FOR PROCESSING)"),
        ({"BodyPartExamined": "EXTREMITY"}, "body part EXTREMITY"),
    ],
)
def test_what_does_not_suit_says_why(tags: dict[str, Any], expected: str) -> None:
    content = dicom(RAMP, 12, **tags)
    assert reason(content, UnsuitableImage, body_parts=CHEST) == expected
    if "NumberOfFrames" not in tags:
        picture = decode_picture(content, 4, 1, body_parts=CHEST, allow_unsuitable=True)
        assert picture.unsuitable == expected


@pytest.mark.parametrize("tags", [{"Modality": ""}, *({"Modality": name} for name in ("CR", "DX", "RG", "OT", "SC")), {"BodyPartExamined": ""}, *({"BodyPartExamined": part} for part in CHEST)])  # fmt: skip
def test_what_suits(tags: dict[str, Any]) -> None:
    assert decode_picture(dicom(RAMP, 12, **tags), 4, 1, body_parts=CHEST).unsuitable == ""
    assert decode_picture(dicom(RAMP, 12, remove=("Modality",)), 4, 1, body_parts=CHEST).unsuitable == ""


def test_transfer_syntaxes() -> None:
    assert (
        reason(dicom(b"\0\0", 8, "1.2.840.10008.1.2.4.100"))
        == "transfer syntax 1.2.840.10008.1.2.4.100 is not read"
    )
    content = dicom(RAMP, 12)
    syntax = b"1.2.840.10008.1.2.1\0"
    assert reason(content.replace(syntax, b"1.2.840.10008.1.2.1.99".ljust(20, b"\0")[:20], 1)).startswith(
        "transfer syntax"
    )
    assert reason(content.replace(syntax, bytes(20), 1)) == "the transfer syntax is missing"


def test_deflated_files_are_refused_before_they_are_inflated() -> None:
    content = dicom(RAMP, 12, meta={"TransferSyntaxUID": "1.2.840.10008.1.2.1"})
    place = content.index(b"1.2.840.10008.1.2.1\0")
    longer = content[: place - 2] + struct.pack("<H", 22) + b"1.2.840.10008.1.2.1.99" + content[place + 20 :]
    assert reason(longer) == "deflated files are not read: write it uncompressed"


def test_files_without_the_beginning_are_no_dicom() -> None:
    body = dicom(RAMP, 12)[132:]
    unknown = "the file is no image of a known format"
    assert reason(body).startswith(unknown)
    for name in ("a.dcm", "folder/a.DICOM"):
        assert reason(body, name=name) == "no DICOM preamble: rewrite the file with dcmconv"
    assert reason(body, name="a.png").startswith(unknown)
    assert reason(b"", name="a.dcm") == "the file is empty"


@pytest.mark.parametrize("length", [132, 140, 200, 300])
def test_a_damaged_header(length: int) -> None:
    assert reason(dicom(RAMP, 12)[:length]) != ""
    damaged = bytes(128) + b"DICM" + b"\xff" * 500
    assert reason(damaged).startswith(("the DICOM header is damaged (", "the transfer syntax is missing"))


def test_without_the_extra_the_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name for name in sys.modules if name.startswith(("pydicom", "couplet.images.decoding.dicom"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("couplet.images.decoding.dicom", raising=False)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert reason(dicom_content, MissingExtra) == 'DICOM needs pydicom: pip install "couplet[dicom]"'
    assert decode_module.is_dicom(dicom_content)


dicom_content = dicom(RAMP, 12)


def test_damaged_headers_are_refused_in_one_line_or_read() -> None:
    """4,000 files of which a few bytes are others, or that are cut: no error but the two that say why."""
    tags = {"WindowCenter": [2048, 9], "WindowWidth": [1024, 9], "PixelPaddingValue": 3, "ViewPosition": "PA"}
    more = {
        "ModalityLUTSequence": lut(0, 12, [*range(9)]),
        "VOILUTSequence": lut(0, 8, [0, 9]),
        "StudyInstanceUID": "1.2",
    }
    draws = np.random.default_rng(0)
    said: set[str] = set()
    for content in (dicom(RAMP, 12, **tags), dicom(RAMP, 12, ImplicitVRLittleEndian, **tags, **more)):
        for _ in range(2000):
            damaged = bytearray(content)
            for place in draws.integers(132, len(content), draws.integers(1, 20)):
                damaged[place] = draws.integers(0, 256)
            cut = draws.integers(132, len(content)) if draws.random() < 0.2 else len(content)
            try:
                picture = decode_picture(bytes(damaged[:cut]), 4, 1, body_parts=CHEST, with_study=True)
                assert picture.pixels.shape == (1, 4, 4)
            except (UnreadableImage, UnsuitableImage) as error:
                said.add(str(error))
    assert len(said) > 20 and all(
        "\n" not in text and text.isprintable() and len(text) < 250 for text in said
    )
