"""High-throughput JPEG 2000 in DICOM: streams of another library's encoder (OpenJPH 0.9.0), small enough to be text.

No file of these syntaxes is among those of pydicom and pydicom-data, and OpenJPEG, which decodes them here, cannot encode.
Each was written by `ojph_compress -num_decomps 2` of FILM or COLOURS with the options that stand beside it.
"""

from __future__ import annotations

import base64
from types import SimpleNamespace

import numpy as np
import pytest

from couplet.images.decoding.decode import MissingExtra, UnreadableImage, decode_picture
from couplet.images.decoding.dicom import read_dicom
from tests.images.test_dicom_files import damage
from tests.support.dicoms import dicom

Y, X = np.mgrid[0:15, 0:20]
FILM = (3000 * np.exp(-((Y - 7) ** 2 + (X - 10) ** 2) / 40) + 500).astype(np.uint16)  # of 12 bits
COLOURS = np.stack([12 * X, 16 * Y, 7 * (X + Y)], axis=-1).astype(np.uint8)

LOSSLESS, LOSSLESS_RPCL, LOSSY = (f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203))
STREAMS = {
    # -reversible true -prog_order LRCP
    LOSSLESS: (
        "/0//UQApQAAAAAAUAAAADwAAAAAAAAAAAAAAFAAAAA8AAAAAAAAAAAABCwEB/1AACAACAAAAB/9SAAwAAAABAAIEBEAB/1wACiBw"
        "eHh4cHB4/2QAFgABT3BlbkpQSCBWZXIgMC45LjAu/5AACgAAAAABUAAB/5PAAXTgt1uwusyxOgmrkzA4Tx1W3UKVeTOlxUxpid0G"
        "/gBZ24OYLxkANzsAwAC34ABdBAALYEdTC5GU3ILoriEO9qhQqOSIChSO+vMpxSUbwgAxmQADzwZ7BMARABefgyZmiuATFj5haRnw"
        "DnQURDeIAAuaAKQABwUIuhcX1TIRVHKE/gJnVQhG9LGZAMABepQAF6HAALWA78cwkhSmYipSjBQJ3cNvj3cTyYDb4DbIQBPF7ER1"
        "7nePkQZQZnAb3EBZpLET0xn1X4jJIEqKqZiilAwhEeF3AEXRjOi6C8dlA8i4gjJgiROTATmDz0k+meRng0WmxqpugGID2yI2GMFK"
        "U22EJSqEkSGWsCViiZGhIhSRz09v+qb8Re1779cABpEeRQKRxOASBrLStAHqI2CyjyYJ/m4Tuh+qDoTl5t59se4A/9k="
    ),
    # -reversible true -prog_order RPCL
    LOSSLESS_RPCL: (
        "/0//UQApQAAAAAAUAAAADwAAAAAAAAAAAAAAFAAAAA8AAAAAAAAAAAABCwEB/1AACAACAAAAB/9SAAwAAgABAAIEBEAB/1wACiBw"
        "eHh4cHB4/2QAFgABT3BlbkpQSCBWZXIgMC45LjAu/5AACgAAAAABUAAB/5PAAXTgt1uwusyxOgmrkzA4Tx1W3UKVeTOlxUxpid0G"
        "/gBZ24OYLxkANzsAwAC34ABdBAALYEdTC5GU3ILoriEO9qhQqOSIChSO+vMpxSUbwgAxmQADzwZ7BMARABefgyZmiuATFj5haRnw"
        "DnQURDeIAAuaAKQABwUIuhcX1TIRVHKE/gJnVQhG9LGZAMABepQAF6HAALWA78cwkhSmYipSjBQJ3cNvj3cTyYDb4DbIQBPF7ER1"
        "7nePkQZQZnAb3EBZpLET0xn1X4jJIEqKqZiilAwhEeF3AEXRjOi6C8dlA8i4gjJgiROTATmDz0k+meRng0WmxqpugGID2yI2GMFK"
        "U22EJSqEkSGWsCViiZGhIhSRz09v+qb8Re1779cABpEeRQKRxOASBrLStAHqI2CyjyYJ/m4Tuh+qDoTl5t59se4A/9k="
    ),
    # -qstep 0.002
    LOSSY: (
        "/0//UQApQAAAAAAUAAAADwAAAAAAAAAAAAAAFAAAAA8AAAAAAAAAAAABCwEB/1AACAACAAAAI/9SAAwAAgABAAIEBEAA/1wAESJn"
        "5lg1WDVYeFAaUBpfv/9kABYAAU9wZW5KUEggVmVyIDAuOS4wLv+QAAoAAAAAAKsAAf+TwAXRAHmtJoYWL5BogOOILSf56au+sW9y"
        "/yjlzRz7g5QvEMA3OgDAC1YAWvACoEWZst9kGTYOxxEv/ED/BRDeAQpZAEBmEEJoRIxWDIvD5tT6As0gUc3pC5kAb+jQZnL/dgDA"
        "FswBa0AJAADsQATpA0LE6AAw+2sOLvFHT+RCZ/nJHQAImgAgZGck/jbbyTfvTegFMb60ka4A/0AEAP/Z"
    ),
}
# -reversible true
OF_COLOURS = (
    "/0//UQAvQAAAAAAUAAAADwAAAAAAAAAAAAAAFAAAAA8AAAAAAAAAAAADBwEBBwEBBwEB/1AACAACAAAABP9SAAwAAgABAQIEBEAB"
    "/1wACiBYYGBgWFhg/2QAFgABT3BlbkpQSCBWZXIgMC45LjAu/5AACgAAAAABHQAB/5PAC3D91+tEbLzohVN4scNUfA4yDvIAmY0E"
    "LwAA0boAwAtoh+3hNpm8Zs/j++r0eVtuVsMDoFxA+CJEuQDAC3C/9+Pr4+HJyPD/ePPl59njjTHgDkEcYPhiRLkAwAVsAFpQAVIA"
    "JACQ/AB/2dh8rbgAAIABBhhggPkABmAAAMfkrboAAAD4DhrkrbYAwATwAVje3dF+y3UA4xhj/OAARgAB7LgAwAVEAFYANKX01+AL"
    "dQD/f/9/4ABGAAHsuADAC0YATQAWsCCDYQD+fQIuUpZB4OktVSwA+H+BMgUAAAAAAPgWtttJ1111N1111N+/fvwxAcAKsCRJku/g"
    "p6enQngAwArAZmZmZu/gp6enwngA/9k="
)
SIZE = {"Rows": 15, "Columns": 20}


def film(syntax: str) -> bytes:
    return dicom(base64.b64decode(STREAMS[syntax]), 12, syntax, **SIZE)


def grey(content: bytes) -> np.ndarray:
    return read_dicom(content, "voi", 10**6).grey


@pytest.mark.parametrize("syntax", [LOSSLESS, LOSSLESS_RPCL])
def test_a_lossless_stream_gives_the_pixels_that_were_encoded(syntax: str) -> None:
    assert int(FILM.max()) == 3500
    np.testing.assert_array_equal(grey(film(syntax)), grey(dicom(FILM, 12)))


def test_a_lossy_stream_is_off_by_what_it_costs() -> None:
    off = np.abs(grey(film(LOSSY)) - grey(dicom(FILM, 12))).max()
    assert 0 < off < 1  # of 255 grey levels; its step is 0.002 of 4,095


@pytest.mark.parametrize("photometric", ["YBR_RCT", "RGB"])
def test_colours_are_turned_back(photometric: str) -> None:
    tags = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": photometric}
    content = dicom(base64.b64decode(OF_COLOURS), 8, LOSSLESS, **SIZE, **tags)
    np.testing.assert_array_equal(grey(content), COLOURS)


@pytest.mark.parametrize("syntax", STREAMS)
def test_a_stream_of_another_size_is_not_decoded(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("couplet.images.decoding.dicom.decode_frame")
    content = dicom(base64.b64decode(STREAMS[syntax]), 12, syntax, Rows=15, Columns=21)
    with pytest.raises(
        UnreadableImage, match="^the JPEG 2000 stream holds 20 x 15 pixels, the header says 21 x 15$"
    ):
        decode_picture(content, 8, 1)


@pytest.mark.parametrize("syntax", STREAMS)
def test_where_nothing_decodes_it_the_reason_says_what_to_install(
    syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow is not asked: of these syntaxes pydicom does not give it any."""
    monkeypatch.setattr(
        "couplet.images.decoding.dicom.get_decoder",
        lambda uid: SimpleNamespace(available_plugins=("pillow",)),
    )
    with pytest.raises(
        MissingExtra, match=r'^JPEG 2000 in DICOM needs pylibjpeg-openjpeg: pip install "couplet\[dicom\]"$'
    ):
        decode_picture(film(syntax), 8, 1)


@pytest.mark.parametrize("syntax", STREAMS)
def test_damaged_streams_never_end_this_process(syntax: str) -> None:
    assert damage(film(syntax), 12)["crashed"] <= 2


@pytest.mark.slow
@pytest.mark.parametrize("syntax", STREAMS)
def test_three_hundred_damaged_streams_crash_nothing(syntax: str) -> None:
    assert damage(film(syntax), 300)["crashed"] == 0
