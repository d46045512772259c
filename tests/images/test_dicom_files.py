"""The files that pydicom ships for its tests, and those of `pydicom-data`: what becomes of each.

Pictures of other modalities are decoded all the same here, for what their encodings show.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from couplet.images.decoding import helper
from couplet.images.decoding.decode import Picture, UnreadableImage, UnsuitableImage, decode_picture
from couplet.images.decoding.dicom import ENCODED, NATIVE, NO_EXTENDED, read_dicom
from couplet.images.decoding.helper import decode_frame
from couplet.images.decoding.picture import CHEST

SHIPPED = Path(pydicom.__file__).parent / "data/test_files"
# What is said of a file, whose pixels are decoded if that is "ok" or an unsuitable modality -> names.
STATUS = {
    "modality CT": "693_J2KI CT_small J2K_pixelrep_mismatch",
    "modality US": "ExplVR_BigEnd examples_jpeg2k examples_rgb_color",
    "no DICOM preamble: rewrite the file with dcmconv": "ExplVR_BigEndNoMeta ExplVR_LitEndNoMeta no_meta rtstruct",
    "ok": (
        "GDCMJ2K_TextGBR JPEGLSNearLossless_08 JPEGLSNearLossless_16 SC_jpeg_no_color_transform "
        "SC_jpeg_no_color_transform_2 SC_rgb_dcmtk_+eb+cr SC_rgb_dcmtk_+eb+cy+n1 "
        "SC_rgb_dcmtk_+eb+cy+n2 SC_rgb_dcmtk_+eb+cy+np SC_rgb_dcmtk_+eb+cy+s2 SC_rgb_dcmtk_+eb+cy+s4 "
        "SC_rgb_gdcm_KY SC_rgb_jls_lossy_line SC_rgb_jls_lossy_sample SC_rgb_jpeg "
        "SC_rgb_jpeg_app14_dcmd SC_rgb_jpeg_dcmd SC_rgb_jpeg_dcmtk SC_rgb_jpeg_gdcm "
        "SC_rgb_jpeg_lossy_gdcm SC_rgb_rle SC_rgb_rle_16bit SC_rgb_small_odd "
        "SC_rgb_small_odd_big_endian SC_rgb_small_odd_jpeg SC_ybr_full_422_uncompressed"
    ),
    NO_EXTENDED: "JPEG-lossy JPGExtended",
    "the JPEG 2000 stream holds 3722445056 x 1024 pixels, the header says 256 x 1024": "JPEG2000-embedded-sequence-delimiter",
    "modality NM": "JPEG2000",
    "modality MR": (
        "MR_small MR_small_RLE MR_small_bigendian MR_small_expb MR_small_implicit "
        "MR_small_jp2klossless MR_small_jpeg_ls_lossless MR_small_padded examples_overlay"
    ),
    "the pixel data has 8130 bytes, 8192 are needed": "MR_truncated",
    "2 frames, single pictures are read": "SC_rgb_rle_16bit_2frame SC_rgb_rle_2frame",
    "32 of 32 bits are not read, at most 16 are": (
        "SC_rgb_rle_32bit SC_rgb_rle_32bit_2frame badVR rtdose rtdose_1frame rtdose_expb "
        "rtdose_expb_1frame rtdose_rle rtdose_rle_1frame"
    ),
    "it has no pixel data": (
        "UN_sequence dicomdirtests/DICOMDIR-empty empty_charset_LEI no_meta_group_length priv_SQ "
        "reportsi reportsi_with_empty_number_tags rtplan rtplan_truncated test-SR waveform_ecg"
    ),
    "PALETTE COLOR is no grey picture": "examples_palette",
    "30 frames, single pictures are read": "examples_ybr_color",
    "deflated files are not read: write it uncompressed": "image_dfl",
    "modality SEG": "liver_1frame liver_expb_1frame",
    "the transfer syntax is missing": "meta_missing_tsyntax",
    "Rows is missing": "nested_priv_SQ",
}
MORE = {
    "modality CT": "693_J2KR 693_UNCI 693_UNCR bad_sequence explicit_VR-UN",
    "modality NM": "JPEG-LL JPEG2000_UNC",
    "modality US": "JPGLosslessP14SV1_1s_1f_8b US1_J2KI US1_J2KR US1_UNCI US1_UNCR color-pl color-px",
    "modality MR": "MR-SIEMENS-DICOM-WithOverlays MR2_J2KI MR2_J2KR MR2_UNCI MR2_UNCR",
    "PALETTE COLOR is no grey picture": (
        "OBXXXX1A OBXXXX1A_2frame OBXXXX1A_expb OBXXXX1A_expb_2frame OBXXXX1A_rle "
        "OBXXXX1A_rle_2frame gdcm-US-ALOKA-16 gdcm-US-ALOKA-16_big"
    ),
    "no DICOM preamble: rewrite the file with dcmconv": "OT-PAL-8-face",
    "ok": (
        "RG1_J2KI RG1_J2KR RG1_UNCI RG1_UNCR RG3_J2KI RG3_J2KR RG3_UNCI RG3_UNCR SC_rgb SC_rgb_16bit "
        "SC_rgb_dcmtk_ebcr_dcmd SC_rgb_dcmtk_ebcyn1_dcmd SC_rgb_dcmtk_ebcyn2_dcmd "
        "SC_rgb_dcmtk_ebcynp_dcmd SC_rgb_dcmtk_ebcys2_dcmd SC_rgb_dcmtk_ebcys4_dcmd SC_rgb_expb "
        "SC_rgb_expb_16bit SC_rgb_gdcm2k_uncompressed SC_ybr_full_uncompressed mlut_18 vlut_04"
    ),
    "2 frames, single pictures are read": (
        "SC_rgb_16bit_2frame SC_rgb_2frame SC_rgb_expb_16bit_2frame SC_rgb_expb_2frame eCT_Supplemental"
    ),
    "32 of 32 bits are not read, at most 16 are": "SC_rgb_32bit SC_rgb_32bit_2frame SC_rgb_expb_32bit SC_rgb_expb_32bit_2frame",
    "120 frames, single pictures are read": "color3d_jpeg_baseline",
    "10 frames, single pictures are read": (
        "emri_small emri_small_RLE emri_small_big_endian emri_small_jpeg_2k_lossless "
        "emri_small_jpeg_ls_lossless"
    ),
    "it has no pixel data": "emri_small_jpeg_2k_lossless_too_short",
    "3 frames, single pictures are read": "liver liver_expb",
}


def path_of(name: str) -> Path:
    shipped = SHIPPED / f"{name}.dcm"
    if shipped.exists():
        return shipped
    found = get_testdata_file(f"{name}.dcm", download=False)
    assert found, f"{name}: pydicom-data is not installed"
    return Path(str(found))


def read(name: str, size: int = 64, rendering: str = "voi") -> Picture:
    content = path_of(name).read_bytes()
    return decode_picture(content, size, 1, rendering, name=f"{name}.dcm", allow_unsuitable=True)  # type: ignore[arg-type]


def levels(file: str | bytes) -> np.ndarray:
    """Grey levels before the picture is squashed, of a file's name or content."""
    content = file if isinstance(file, bytes) else path_of(file).read_bytes()
    return read_dicom(content, "voi", 10**8, allow_unsuitable=True).grey


def said(name: str) -> str:
    try:
        return read(name).unsuitable or "ok"
    except (UnreadableImage, UnsuitableImage) as error:
        return str(error)


def rows(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, text) for text, names in table.items() for name in names.split()]


@pytest.mark.parametrize(("name", "expected"), rows(STATUS))
def test_what_becomes_of_the_shipped_files(name: str, expected: str) -> None:
    assert said(name) == expected


def test_every_shipped_file_is_listed() -> None:
    files = {path.relative_to(SHIPPED).as_posix()[:-4] for path in SHIPPED.rglob("*.dcm")}
    assert files == {name for name, _ in rows(STATUS)}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "expected"), rows(MORE))
def test_what_becomes_of_the_files_of_pydicom_data(name: str, expected: str) -> None:
    assert said(name) == expected


@pytest.mark.slow
def test_every_file_of_pydicom_data_is_listed() -> None:
    files = {path.stem for path in path_of("RG1_J2KR").parent.glob("*.dcm")}
    assert files == {name for name, _ in rows(MORE)}


def test_a_body_part_that_a_chest_model_does_not_know() -> None:
    with pytest.raises(UnsuitableImage, match="^modality MR$"):
        decode_picture(path_of("MR_small").read_bytes(), 64, 1, body_parts=CHEST)


# --- one picture, several encodings ---------------------------------------------------------------------------

SAME = [
    [f"MR_small{kind}" for kind in ("", "_RLE", "_bigendian", "_expb", "_implicit", "_jp2klossless", "_jpeg_ls_lossless", "_padded")],
    ["SC_rgb_gdcm_KY", "SC_rgb_jpeg_gdcm", "SC_rgb_rle", "SC_rgb_rle_16bit"],
    ["SC_rgb_small_odd", "SC_rgb_small_odd_big_endian"],
    ["SC_rgb_jls_lossy_line", "SC_rgb_jls_lossy_sample"],
    ["liver_1frame", "liver_expb_1frame"],
]  # fmt: skip
SAME_IN_DATA = [
    ["RG1_UNCR", "RG1_J2KR"], ["RG1_UNCI", "RG1_J2KI"], ["RG3_UNCR", "RG3_J2KR"], ["RG3_UNCI", "RG3_J2KI"],
    ["MR2_UNCR", "MR2_J2KR"], ["MR2_UNCI", "MR2_J2KI"], ["US1_UNCR", "US1_J2KR"], ["US1_UNCI", "US1_J2KI"],
    ["693_UNCR", "693_J2KR"], ["693_UNCI", "693_J2KI"], ["JPEG2000_UNC", "JPEG2000"], ["color-pl", "color-px"],
    ["SC_rgb", "SC_rgb_16bit", "SC_rgb_expb", "SC_rgb_expb_16bit", "SC_rgb_gdcm2k_uncompressed", "SC_rgb_rle"],
]  # fmt: skip


@pytest.mark.parametrize("names", SAME, ids=lambda names: names[0])
def test_encodings_of_one_picture_give_equal_bytes(names: list[str]) -> None:
    first = levels(names[0])
    for name in names[1:]:
        np.testing.assert_array_equal(levels(name), first)


@pytest.mark.slow
@pytest.mark.parametrize("names", SAME_IN_DATA, ids=lambda names: names[0])
def test_encodings_of_one_picture_of_pydicom_data_give_equal_bytes(names: list[str]) -> None:
    test_encodings_of_one_picture_give_equal_bytes(names)


def test_colour_in_another_space_is_the_same_colour() -> None:
    """The lossy encodings differ from the lossless one by what the compression cost, and nothing is swapped."""
    plain = read("SC_rgb_gdcm_KY").pixels.astype(int)
    for name in ("SC_ybr_full_422_uncompressed", "SC_rgb_dcmtk_+eb+cy+n1", "SC_rgb_dcmtk_+eb+cy+s4", "SC_rgb_dcmtk_+eb+cr", "SC_rgb_jpeg_lossy_gdcm"):  # fmt: skip
        assert np.abs(read(name).pixels - plain).mean() < 3, name


@pytest.mark.slow
def test_a_real_film_is_shown_as_a_radiologist_sees_it() -> None:
    """MONOCHROME1 of 15 bits with a window: lungs darker than what lies between them, mean and deviation as known."""
    grey = levels("RG1_UNCR")
    h, w = grey.shape
    middle = grey[h // 3 : h // 2, int(0.46 * w) : int(0.54 * w)].mean()
    lungs = [grey[h // 3 : h // 2, int(a * w) : int((a + 0.1) * w)].mean() for a in (0.2, 0.7)]
    assert max(lungs) < middle
    for rendering, mean, deviation in (("voi", 192, 39), ("minmax", 190, 46), ("equalize", 129, 74)):
        pixels = read_dicom(path_of("RG1_UNCR").read_bytes(), rendering, 10**8).grey  # type: ignore[arg-type]
        np.testing.assert_allclose([pixels.mean(), pixels.std()], [mean, deviation], atol=0.51)


@pytest.mark.slow
def test_a_film_of_another_body_part_is_unsuitable() -> None:
    with pytest.raises(UnsuitableImage, match="^body part EXTREMITY$"):
        decode_picture(path_of("RG3_UNCR").read_bytes(), 64, 1, body_parts=CHEST)


# --- damage ---------------------------------------------------------------------------------------------------

STREAMS = [
    "MR_small_RLE",
    "SC_rgb_jpeg_dcmtk",
    "MR_small_jp2klossless",
    "MR_small_jpeg_ls_lossless",
    "SC_rgb_jpeg_gdcm",
]


def mutated(stream: bytes, draws: np.random.Generator) -> bytes:
    """1 to 30 bytes are others; one stream of five is cut as well."""
    changed = bytearray(stream)
    for place in draws.integers(0, len(stream), draws.integers(1, 31)):
        changed[place] = draws.integers(0, 256)
    return bytes(changed[: draws.integers(0, len(stream))] if draws.random() < 0.2 else changed)


def damage(content: bytes, n: int) -> dict[str, int]:
    """Decode n mutations of a file's stream, and the whole one after each crash; counts of what was said."""
    header = pydicom.dcmread(io.BytesIO(content))
    syntax = header.file_meta.TransferSyntaxUID
    stream = pydicom.encaps.get_frame(header.PixelData, 0, number_of_frames=1)
    whole = levels(content)
    place = content.index(stream)
    counts = {"ok": 0, "refused": 0, "crashed": 0}
    draws = np.random.default_rng(15)
    assert syntax in ENCODED and syntax not in NATIVE
    for _ in range(n):
        spoilt = (
            content[:place]
            + mutated(stream, draws).ljust(len(stream), b"\0")
            + content[place + len(stream) :]
        )
        try:
            got = levels(spoilt)
            assert got.shape == whole.shape
            counts["ok"] += 1
        except UnreadableImage as error:
            crashed = str(error) == "the decoder crashed"
            counts["crashed" if crashed else "refused"] += 1
            if crashed:
                np.testing.assert_array_equal(levels(content), whole)
    np.testing.assert_array_equal(levels(content), whole)
    assert sum(counts.values()) == n
    return counts


@pytest.mark.parametrize("name", STREAMS)
def test_damaged_streams_never_end_this_process(name: str) -> None:
    assert damage(path_of(name).read_bytes(), 12)["crashed"] <= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMS)
def test_three_hundred_damaged_streams_never_end_this_process(name: str) -> None:
    counts = damage(path_of(name).read_bytes(), 300)
    assert counts["crashed"] == 0 or name == "SC_rgb_jpeg_gdcm"


def test_the_decoders_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A further plug-in, which pydicom would try first or last, changes no bytes."""
    asked: dict[str, str] = {}

    def noted(frame: bytes, options: dict[str, str], shape: tuple[int, ...]) -> np.ndarray:
        asked[options["transfer_syntax"]] = options["decoding_plugin"]
        return decode_frame(frame, options, shape)

    monkeypatch.setattr("couplet.images.decoding.dicom.decode_frame", noted)
    for name in STREAMS:
        levels(name)
    assert list(asked.values()) == ["pydicom", "pillow", "pylibjpeg", "pyjpegls", "gdcm"]
    assert helper.SECONDS == 60
