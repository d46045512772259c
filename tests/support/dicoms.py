"""DICOM files of a few pixels, written by pydicom."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
DX = "1.2.840.10008.5.1.4.1.1.1.1"
RAMP = np.array([[0, 1024, 2048, 3072, 4080]], np.uint16)  # of 12 bits


def dicom(
    pixels: np.ndarray | bytes,
    bits: int = 0,
    syntax: str = ExplicitVRLittleEndian,
    remove: tuple[str, ...] = (),
    meta: dict[str, Any] | None = None,
    **tags: Any,
) -> bytes:
    """A file of these stored values: (H, W), or (H, W, 3) RGB; or of a code stream, with its size in the tags.

    Args:
        pixels: stored values, or one frame that is compressed already.
        bits: BitsStored; 0: all that the values' type has.
        syntax: the transfer syntax.
        remove: keywords of tags to leave out in the end.
        meta: of the file's meta information.
        tags: further tags, by keyword; they replace what is worked out here.
    """
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = UID(DX), generate_uid(entropy_srcs=["couplet"])
    header.Modality, header.PhotometricInterpretation, header.SamplesPerPixel = "DX", "MONOCHROME2", 1
    if isinstance(pixels, np.ndarray):
        header.Rows, header.Columns = pixels.shape[:2]
        header.BitsAllocated = 8 * pixels.dtype.itemsize
        header.PixelRepresentation = int(pixels.dtype.kind == "i")
        if pixels.ndim == 3:
            header.PhotometricInterpretation, header.SamplesPerPixel, header.PlanarConfiguration = "RGB", 3, 0
    else:
        header.BitsAllocated, header.PixelRepresentation = 16 if bits > 8 else 8, 0
    header.BitsStored = bits or header.BitsAllocated
    header.HighBit = header.BitsStored - 1
    little_endian = syntax != ExplicitVRBigEndian
    if isinstance(pixels, np.ndarray):
        data = pixels.astype(pixels.dtype.newbyteorder("<" if little_endian else ">")).tobytes()
        header.PixelData = data + bytes(len(data) % 2)
    else:
        header.PixelData = encapsulate([pixels])
        header["PixelData"].is_undefined_length = True
    header["PixelData"].VR = (
        "OB" if (header.BitsAllocated == 8 and syntax in NATIVE[::2]) or syntax not in NATIVE else "OW"
    )
    for name, value in tags.items():
        setattr(header, name, value)
    for name in remove:
        delattr(header, name)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = UID(syntax)
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    for name, value in (meta or {}).items():
        setattr(header.file_meta, name, value)
    file = io.BytesIO()
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()


def lut(first: int, bits: int, entries: list[int]) -> list[Dataset]:
    """The one item of a ModalityLUTSequence or VOILUTSequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return [item]
