"""Whole JPEGs only: libjpeg reads a file that was cut and closed with an end marker, and fills the rest with grey.

It warns of that, and Pillow does not hand the warning on. So the decoder gets the picture's own bytes followed by
a few that no picture needs, and not the end marker: a whole picture is finished without it, and one that ends
early asks for more. The markers are those of ITU-T T.81 (JPEG), annex B.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass, field

from PIL import Image, ImageFile

START, END, SCAN, RESTART_INTERVAL = b"\xff\xd8", b"\xff\xd9", 0xDA, 0xDD
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2  # frames in Huffman code
# Lossless, arithmetic: not looked at.
OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
ANY_FRAME = {*SEQUENTIAL, PROGRESSIVE, *OTHER_FRAMES, 0xF7}
# Within a scan 0xff that is followed by 0 stands for itself; restart markers may come, any other ends the scan.
MARKER = re.compile(rb"\xff[^\x00\xff]")
RESTARTS = range(0xD0, 0xD8)
# The decoder looks up to eight bytes ahead. Ones only, which are the start of no code: of missing blocks these
# bytes can stand for three or four.
PADDING = b"\xff\x00" * 9
CUT = "the JPEG data ends before the picture does: the file was cut short and closed with an end marker"
FEW_SCANS = (
    "some scans of the progressive JPEG are missing: the file was cut short and closed with an end marker"
)


@dataclass
class Frame:
    """What the headers say, as far as it tells whether the picture is whole.

    Attributes:
        end: where the code of the last scan ends that is needed.
        several_scans: the picture is finished by the last of them only.
        interval: blocks (MCU) between restart markers, 0 without any.
        restarts_missing: a scan has fewer restart markers than it should have.
    """

    progressive: bool
    width: int
    height: int
    sampling: dict[int, tuple[int, int]]  # component -> horizontal and vertical
    end: int = 0
    several_scans: bool = False
    interval: int = 0
    restarts_missing: bool = False
    # (component, coefficient in zigzag order) -> bits that are still to come; absent: all of them
    bits_missing: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def scans_missing(self) -> bool:
        """Some coefficient has not got all its bits."""
        n = 64 if self.progressive else 1
        places = ((component, k) for component in self.sampling for k in range(n))
        return any(self.bits_missing.get(place, 1) for place in places)

    def note_scan(self, header: bytes, n_restarts: int) -> None:
        """Note what one scan gives."""
        n = header[0]
        components = header[1 : 1 + 2 * n : 2]
        first, last, bits = header[1 + 2 * n], header[2 + 2 * n], header[3 + 2 * n] & 15
        if not self.progressive:
            first, last, bits = 0, 0, 0
        for component in components:
            self.bits_missing.update(((component, k), bits) for k in range(first, last + 1))
        if self.interval:
            n_expected = math.ceil(self._n_blocks(components) / self.interval) - 1
            self.restarts_missing |= n_restarts < n_expected

    def _n_blocks(self, components: bytes) -> int:
        """Of a scan: 8 x 8 pixels of the one component, or as much as holds a whole block of each."""
        across, down = (max(factors) for factors in zip(*self.sampling.values(), strict=True))
        if len(components) > 1:
            return math.ceil(self.width / (8 * across)) * math.ceil(self.height / (8 * down))
        own_across, own_down = self.sampling[components[0]]
        blocks = (math.ceil(self.width * own_across / across), math.ceil(self.height * own_down / down))
        return math.ceil(blocks[0] / 8) * math.ceil(blocks[1] / 8)


def read_frame(content: bytes) -> Frame | None:
    """Follow the markers of a JPEG to its end.

    Returns:
        None if there is no end, or if it is coded in a way that is not looked at here.

    Raises:
        IndexError, KeyError, ValueError: the headers are damaged.
    """
    frame, interval, place = None, 0, 2
    while place + 2 <= len(content):
        marker = content[place + 1]
        if content[place] != 0xFF or marker in OTHER_FRAMES:
            return None
        if marker == 0xFF:  # any number of them may stand before a marker
            place += 1
            continue
        if marker == END[1]:
            break
        following = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        header = content[place + 4 : following]
        place = following
        if marker in (*SEQUENTIAL, PROGRESSIVE) and frame is None:
            parts = [header[at : at + 3] for at in range(6, 6 + 3 * header[5], 3)]
            sampling = {part[0]: (part[1] >> 4, part[1] & 15) for part in parts}
            height, width = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
            frame = Frame(marker == PROGRESSIVE, width, height, sampling)
        elif marker == RESTART_INTERVAL:
            interval = int.from_bytes(header[:2], "big")
        elif marker == SCAN:
            place, n_restarts = _scan_end(content, following)
            if frame is None or place == len(content):
                return None
            frame.interval = interval
            frame.note_scan(header, n_restarts)
            frame.several_scans |= frame.progressive or header[0] < len(frame.sampling)
            frame.end = place
            if not frame.several_scans:
                return frame
    else:
        return None
    return frame if frame and frame.end else None


def _scan_end(content: bytes, start: int) -> tuple[int, int]:
    """Where the code that begins at `start` ends (at the latest with the file), and how many restarts it has."""
    n_restarts = 0
    for found in MARKER.finditer(content, start):
        if content[found.start() + 1] not in RESTARTS:
            return found.start(), n_restarts
        n_restarts += 1
    return len(content), n_restarts


def frame_header(content: bytes) -> tuple[int, int] | None:
    """Marker of the first frame (of any JPEG, JPEG-LS too) and its bits per sample, if there is one."""
    place = 2
    while place + 4 < len(content) and content[place] == 0xFF and content[place + 1] != SCAN:
        if content[place + 1] in ANY_FRAME:
            return content[place + 1], content[place + 4]
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return None


def load_whole(image: ImageFile.ImageFile, content: bytes) -> None:
    """Load an opened JPEG (`draft` may have been called), whose file holds `content`.

    Raises:
        OSError: a part of the picture is missing.
    """
    try:
        frame = read_frame(content)
    except (IndexError, KeyError, ValueError):
        frame = None  # Pillow and libjpeg say what is wrong with the headers
    if frame is None:
        image.load()
        return
    if frame.scans_missing:
        raise OSError(FEW_SCANS if frame.progressive else CUT)
    if frame.restarts_missing:
        raise OSError(CUT)
    if frame.several_scans:
        _feed(image, content[: frame.end])
        return
    image.fp = io.BytesIO(content[: frame.end] + PADDING)
    try:
        image.load()
    except OSError as error:
        raise OSError(CUT if "truncated" in str(error) else str(error)) from None


def _feed(image: ImageFile.ImageFile, code: bytes) -> None:
    """Load a JPEG that is only finished by its end marker.

    After its last scan the decoder skips what is no marker and so takes every byte at once. Within a scan it keeps
    the bytes of a block that is not complete.
    """
    tile = image.tile[0]
    image.load_prepare()
    decoder = Image._getdecoder(image.mode, tile.codec_name, tile.args, image.decoderconfig)
    try:
        decoder.setimage(image.im, tile.extents)
        left = code + PADDING
        for _ in range(3):  # after one more byte it may have just completed a block, and not after two
            n_taken, failure = decoder.decode(left)
            if failure or n_taken != len(left):
                raise OSError(
                    CUT if not failure else f"broken data stream when reading image file ({failure})"
                )
            left = b"\0"
        n_taken, failure = decoder.decode(END)
        if n_taken >= 0 or failure:
            raise OSError(CUT)
    finally:
        decoder.cleanup()
    image.tile = []
