"""How an image of the store becomes bytes and pixels again, and what the files of a shard are called.

    raw    images-00000.npy          uint8 (n, C, S, S)
    jpeg   images-00000.jpegs        n JPEG streams, one after another
           images-00000.index.npy    uint64 (n + 1): where each begins, and the end of the last

JPEG has quality 95, grey as one channel and colour in full resolution (4:4:4): of X-rays at 416 pixels it
takes a fifth of the space, and changes a grey level by 0.5 on average, by 8 at most. benchmarks/codec.py
measures both.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from couplet.project.errors import UserError
from couplet.settings.schema.image import Codec

FILES: dict[Codec, tuple[str, ...]] = {"raw": (".npy",), "jpeg": (".jpegs", ".index.npy")}
SETTINGS: dict[Codec, dict[str, int]] = {"raw": {}, "jpeg": {"quality": 95, "subsampling": 0}}
# Of the pixels' bytes, for a look at the disk beforehand: X-rays take 0.19 at 416 pixels, photographs 0.18 at 512.
EXPECTED_SHARE: dict[Codec, float] = {"raw": 1, "jpeg": 0.25}


def shard_name(index: int, ending: str = FILES["raw"][0]) -> str:
    """File name of a shard.

    >>> [shard_name(3, ending) for ending in FILES["jpeg"]]
    ['images-00003.jpegs', 'images-00003.index.npy']
    """
    return f"images-{index:05d}{ending}"


def codec_fingerprint(codec: Codec) -> str:
    """A digest of what makes a shard's bytes out of pixels, besides the libraries: this code."""
    return hashlib.sha256(Path(__file__).read_bytes() + f"{codec} {SETTINGS[codec]}".encode()).hexdigest()


def encode(pixels: np.ndarray, codec: Codec) -> bytes:
    """The bytes of uint8 pixels (C, S, S) in a shard."""
    if codec == "raw":
        return pixels.tobytes()
    stream = io.BytesIO()
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    image.save(stream, "JPEG", **SETTINGS[codec])
    return stream.getvalue()


def picture_digest(pixels: np.ndarray, content: bytes) -> str:
    """What two images have in common only if they are the same picture: 16 hex digits of BLAKE2b.

    It is of the bytes in the shard, so that another codec or size gives other digests: compare within one store.

    Args:
        pixels: uint8 (C, S, S).
        content: `encode` of them.

    Returns:
        Empty text for a blank picture, every channel of one value: all blank pictures look alike, whoever they are of.

    >>> black = np.zeros((1, 2, 2), np.uint8)
    >>> picture_digest(black, encode(black, "raw"))
    ''
    """
    if (pixels.min(axis=(1, 2)) == pixels.max(axis=(1, 2))).all():
        return ""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def decode_jpeg(stream: bytes | bytearray, pixels: np.ndarray) -> None:
    """Fill `pixels` (C, S, S) with what a stream of `encode` holds.

    Raises:
        ValueError: it is no whole JPEG, or one of another size or number of channels.
    """
    channels, height, width = pixels.shape
    wanted = ("L" if channels == 1 else "RGB", (width, height))
    try:
        with Image.open(io.BytesIO(stream), formats=("JPEG",)) as image:
            if (image.mode, image.size) != wanted:
                raise ValueError(f"{image.mode} {image.size}")
            decoded = np.asarray(image)  # without the interpreter's lock: threads decode side by side
    except MemoryError:
        raise  # says something about this machine, not about the file
    except Exception as error:  # Pillow's parsers raise nearly anything on damaged input
        raise ValueError(f"no JPEG of {wanted}: {error}") from None
    pixels[...] = decoded.reshape(height, width, channels).transpose(2, 0, 1)


def array_header(n: int, shape: tuple[int, int, int]) -> bytes:
    """What stands before the pixels of n images in a raw shard."""
    content = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (n, *shape)}
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue()


def index_file(offsets: Sequence[int]) -> bytes:
    """The content of a JPEG shard's index."""
    content = io.BytesIO()
    np.save(content, np.array(offsets, dtype="<u8"), allow_pickle=False)
    return content.getvalue()


def workers_wanted() -> int:
    """How many threads decode in this process: the variable COUPLET_WORKERS, else one per core.

    COUPLET_WORKERS=ray says where shards are made (`running/engine.py`), and nothing of a process's own threads.
    """
    wanted = os.environ.get("COUPLET_WORKERS", "ray")
    wanted = str(os.cpu_count() or 1) if wanted == "ray" else wanted
    if not wanted.isdecimal() or int(wanted) < 1:
        raise UserError(
            f"COUPLET_WORKERS = {wanted!r} is not allowed: it should be a whole number from 1 on, or ray"
        )
    return int(wanted)
