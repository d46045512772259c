"""What a decoded file is: pixels of the store's shape and what its header says of them, or why there are none."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

DICOM_ENDINGS = (".dcm", ".dicom")
INSTALL = 'pip install "couplet[dicom]"'
# Values of BodyPartExamined in sets of chest X-rays; an empty one suits too, de-identification takes it away.
CHEST = ("CHEST", "THORAX", "PORT CHEST", "CHEST_TO_PELVIS")


class UnreadableImage(Exception):
    """The file is not an image that can be decoded; the text says why, the same on every machine."""


class UnsuitableImage(Exception):
    """The file can be decoded, but does not show what chest X-ray classifiers know; the text says why."""


class MissingExtra(UnreadableImage):
    """The file is DICOM, and what reads it is not installed; the text says how to install it."""


@dataclass(frozen=True)
class Facts:
    """What a DICOM header says of its picture; all of it empty for other files. Nothing of the patient is read.

    Attributes:
        view: `frontal` or `lateral`, as ViewPosition says, else empty.
        view_position: ViewPosition where it is one that `view` knows (AP, PA, LL, ...), else empty.
        rendering: how grey values became 8 bits, `image.dicom`.
        photometric: PhotometricInterpretation.
        modality: Modality.
        orientation: PatientOrientation, for example `L\\F`, which frontal pictures should have. Pixels are not turned.
        burned_in: BurnedInAnnotation; None if the header does not say.
        study: first 16 hex digits of the SHA-256 of StudyInstanceUID, if it was asked for.
    """

    view: str = ""
    view_position: str = ""
    rendering: str = ""
    photometric: str = ""
    modality: str = ""
    orientation: str = ""
    burned_in: bool | None = None
    study: str = ""


@dataclass(frozen=True)
class Picture:
    """A decoded file.

    Attributes:
        pixels: uint8 (C, S, S).
        width, height: of the original as it is shown, in pixels.
        facts: what a DICOM header says of it.
        unsuitable: why it would have been refused, where `decode_picture` was told to decode it all the same.
        dicom: whether the file is DICOM.
    """

    pixels: np.ndarray
    width: int
    height: int
    facts: Facts = field(default_factory=Facts)
    unsuitable: str = ""
    dicom: bool = False
