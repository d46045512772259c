"""What decides the pixels of DICOM files: free of pydicom, so that runs on other files do not import it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from couplet.settings.schema.image import Rendering

LIBRARIES = ("pydicom", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-libjpeg", "pyjpegls", "python-gdcm")
# The code besides `couplet.images.decoding.decode`.
PARTS = ("codestream.py", "decoder_process.py", "dicom.py", "dicom_header.py", "helper.py", "rendering.py")


def dicom_fingerprint(rendering: Rendering, body_parts: Collection[str] | None) -> str:
    """A digest of what becomes of a DICOM file besides its bytes: this code, the settings and the libraries."""
    code = b"".join(Path(__file__).with_name(name).read_bytes() for name in PARTS)
    settings = f"{rendering} {body_parts and sorted(body_parts)} {[_version(name) for name in LIBRARIES]}"
    return hashlib.sha256(code + settings.encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
