"""The header of a DICOM file: the few tags that say how its picture is to be shown, and whether it suits.

No tag of the patient, the study's date, the institution, the device or the operator is read, so that none of them
is ever in memory. Tags and their meaning are those of PS3.3.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import re
import warnings
from collections.abc import Collection
from typing import Any

import numpy as np
from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from couplet.images.decoding.picture import Facts, UnreadableImage
from couplet.images.decoding.rendering import Look, Lut, Window
from couplet.results.spellings import view_kind
from couplet.settings.schema.image import Rendering

TAGS = (
    *("Modality", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("PresentationLUTShape", "PresentationLUTSequence", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *(
        "PresentationIntentType",
        "BurnedInAnnotation",
        "BodyPartExamined",
        "ViewPosition",
        "PatientOrientation",
    ),
    *(
        "PixelData",
        "FloatPixelData",
        "DoubleFloatPixelData",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
    ),
)
STUDY = "StudyInstanceUID"
DEFLATED = "1.2.840.10008.1.2.1.99"
MODALITIES = ("CR", "DX", "RG", "OT", "SC")
# ViewPosition is passed on where it is one of these terms, and nothing that somebody typed.
VIEWS = {term: view_kind(term) for term in ("AP", "PA", "LL", "RL", "LATERAL", "LLO")}
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
# Values of tags that are printed: what looks like a defined term, and nothing that somebody typed.
TERM = re.compile(r"[A-Z0-9_ ]{1,16}")

# Values that break the standard's rules are common, and pydicom's warnings about them quote the values.
config.settings.reading_validation_mode = config.IGNORE
warnings.filterwarnings("ignore", module="pydicom")
logging.getLogger("pydicom").propagate = False


def read_header(content: bytes, with_study: bool) -> tuple[Dataset, str]:
    """The tags above and the transfer syntax of a file that has `DICM` at byte 128.

    Raises:
        UnreadableImage: its structure is damaged, or it is deflated.
    """
    file = io.BytesIO(content)
    try:
        file.seek(132)
        about = read_dataset(
            file, False, True, stop_when=lambda tag, *_: tag.group != 2, specific_tags=[Tag(2, 16)]
        )
        syntax = str(about.get("TransferSyntaxUID") or "")
        if syntax == DEFLATED:
            raise UnreadableImage("deflated files are not read: write it uncompressed")
        file.seek(0)
        names = (*TAGS, STUDY) if with_study else TAGS
        return dcmread(file, specific_tags=list(names)), syntax
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # pydicom's parser raises nearly anything on damaged input
        raise UnreadableImage(f"the DICOM header is damaged ({stable(error)})") from None


def refuse_unreadable(header: Dataset, most_pixels: int) -> None:
    """Check everything that the pixels are read by.

    Raises:
        UnreadableImage: a tag is missing or of the wrong kind, or says what is not read.
    """
    if "FloatPixelData" in header or "DoubleFloatPixelData" in header:
        raise UnreadableImage("float pixel data is not read")
    if not isinstance(header.get("PixelData"), bytes) or not header.PixelData:
        raise UnreadableImage("it has no pixel data")
    rows, columns, samples = (number(header, name) for name in ("Rows", "Columns", "SamplesPerPixel"))
    allocated, stored, high = (number(header, name) for name in ("BitsAllocated", "BitsStored", "HighBit"))
    number(header, "PixelRepresentation")
    photometric = text(header, "PhotometricInterpretation")
    if not photometric:
        raise UnreadableImage("PhotometricInterpretation is missing")
    if photometric == "PALETTE COLOR":
        raise UnreadableImage("PALETTE COLOR is no grey picture")
    if photometric not in (*GREY, *COLOUR):
        raise UnreadableImage(f"pixels of the kind {shown(photometric)} are not read")
    if samples != (1 if photometric in GREY else 3):
        raise UnreadableImage(f"{photometric} does not have {samples} samples a pixel")
    if samples == 3:
        number(header, "PlanarConfiguration")
    if rows < 1 or columns < 1:
        raise UnreadableImage(f"it has {columns} x {rows} pixels")
    if rows * columns > most_pixels:
        raise UnreadableImage(f"the image has more than {most_pixels} pixels")
    if allocated not in (1, 8, 16, 32) or not 1 <= stored <= min(allocated, 16):
        raise UnreadableImage(f"{stored} of {allocated} bits are not read, at most 16 are")
    if high != stored - 1:
        raise UnreadableImage(f"HighBit {high} does not fit {stored} stored bits")
    if header.get("PresentationLUTSequence"):
        raise UnreadableImage("a Presentation LUT Sequence is not applied")


def frames(header: Dataset) -> int:
    """Number of frames, 1 if the header does not say."""
    return number(header, "NumberOfFrames", 1)


def why_unsuitable(header: Dataset, body_parts: Collection[str] | None) -> str:
    """What makes a file of one frame another kind of picture than an X-ray film of these body parts; else empty."""
    modality, intent = text(header, "Modality"), text(header, "PresentationIntentType")
    part = text(header, "BodyPartExamined")
    if modality and modality not in MODALITIES:
        return f"modality {shown(modality)}"
    if intent == "FOR PROCESSING":
        return "raw detector data (FOR PROCESSING)"
    if part and body_parts is not None and part not in body_parts:
        return f"body part {shown(part)}"
    return ""


def facts_of(header: Dataset, rendering: Rendering) -> Facts:
    """What is told of a picture."""
    position, orientation = text(header, "ViewPosition"), text(header, "PatientOrientation")
    burned_in, study = text(header, "BurnedInAnnotation"), text(header, STUDY)
    modality = text(header, "Modality")
    return Facts(
        view=VIEWS.get(position, ""),
        view_position=position if position in VIEWS else "",
        rendering=rendering,
        photometric=text(header, "PhotometricInterpretation"),
        modality=modality if re.fullmatch("[A-Z]{2,8}", modality) else "",
        orientation=orientation if re.fullmatch(r"[APRLHF]{1,3}\\[APRLHF]{1,3}", orientation) else "",
        burned_in={"YES": True, "NO": False}.get(burned_in),
        study=hashlib.sha256(study.encode()).hexdigest()[:16] if study else "",
    )


def look_of(header: Dataset, little_endian: bool) -> Look:
    """How the picture is to be shown.

    Raises:
        UnreadableImage: a lookup table is damaged.
    """
    photometric = text(header, "PhotometricInterpretation")
    return Look(
        bits=number(header, "BitsStored"),
        signed=number(header, "PixelRepresentation") == 1,
        slope=_fraction(header, "RescaleSlope", 1.0),
        intercept=_fraction(header, "RescaleIntercept", 0.0),
        modality=_lut(header, "ModalityLUTSequence", little_endian),
        voi=_lut(header, "VOILUTSequence", little_endian) or _window(header),
        # MONOCHROME1 and INVERSE are the usual pair, and say the same (PS3.3, C.11.6.1.2).
        inverted=photometric == "MONOCHROME1" or text(header, "PresentationLUTShape") == "INVERSE",
        padding=_padding(header),
    )


def number(header: Dataset, name: str, default: int | None = None) -> int:
    """A whole number.

    Raises:
        UnreadableImage: the tag is no number, or it is missing and there is no default.
    """
    try:
        value = header.get(name)
        if value is None or value == "":
            if default is None:
                raise UnreadableImage(f"{name} is missing")
            return default
        return int(value)
    except UnreadableImage:
        raise
    except Exception:  # pydicom converts a value when it is asked for
        raise UnreadableImage(f"{name} is no number") from None


def text(header: Dataset, name: str) -> str:
    """A tag as text, several values joined by backslashes; empty where it is missing or damaged."""
    try:
        value = header.get(name)
        values = [value] if isinstance(value, str) else list(value or ())
        return "\\".join(str(part).strip() for part in values)
    except Exception:  # pydicom converts a value when it is asked for
        return ""


def shown(value: str) -> str:
    """A tag's value as a reason may quote it."""
    return value if TERM.fullmatch(value) else "of an unknown name"


def stable(error: Exception) -> str:
    """An error's text without addresses and quoted values."""
    text = re.sub(r"<[^>]*>|0x[0-9a-fA-F]+|'[^']*'|\"[^\"]*\"|b'.*'", "...", " ".join(str(error).split()))
    return text[:120] or type(error).__name__


def _fraction(header: Dataset, name: str, default: float) -> float:
    """A number; a missing or empty one is the default, what is none becomes NaN."""
    try:
        value = header.get(name)
        return default if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return math.nan


def _window(header: Dataset) -> Window | None:
    """The first window, which vendors put where the intended one belongs; one that is not valid is none."""
    function = text(header, "VOILUTFunction")
    function = function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
    try:
        center, width = (
            float(np.atleast_1d(header.get(name))[0]) for name in ("WindowCenter", "WindowWidth")
        )
    except (TypeError, ValueError, IndexError):
        return None
    least_ok = width >= 1 if function == "LINEAR" else width > 0
    return Window(center, width, function) if math.isfinite(center + width) and least_ok else None


def _lut(header: Dataset, name: str, little_endian: bool) -> Lut | None:
    """The first table of a sequence."""
    try:
        items = header.get(name)
        if not items:
            return None
        n, first, bits = (int(part) for part in items[0].LUTDescriptor)
        data: Any = items[0].LUTData
        n = n or 2**16
        if isinstance(data, bytes):
            kind = "u1" if bits == 8 and len(data) <= n + n % 2 else "<u2" if little_endian else ">u2"
            data = np.frombuffer(data, kind)
        entries = np.atleast_1d(np.asarray(data, dtype=np.int64))[:n]
        if not (len(entries) == n and 1 <= bits <= 16 and entries.min() >= 0):
            raise ValueError
        return Lut(first, bits, entries)
    except Exception:  # pydicom converts a value when it is asked for
        raise UnreadableImage(f"its {name} is damaged") from None


def _padding(header: Dataset) -> tuple[int, int] | None:
    value, limit = (header.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if not isinstance(value, int):
        return None
    bits, signed = number(header, "BitsAllocated"), number(header, "PixelRepresentation") == 1
    ends = [_with_sign(end, bits, signed) for end in (value, limit) if isinstance(end, int)]
    return min(ends), max(ends)


def _with_sign(value: int, bits: int, signed: bool) -> int:
    """A number that some writers store with the other sign than the pixels have."""
    value %= 2**bits
    return value - 2**bits if signed and value >= 2 ** (bits - 1) else value
