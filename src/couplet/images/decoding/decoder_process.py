"""Decodes compressed frames of DICOM pixel data, one after the other, in a process of its own: it may die of them.

Run by its path (`couplet.images.decoding.helper`), it imports nothing of couplet. Requests come on stdin and answers go
to stdout; every part of a message is its length in 8 bytes and that many bytes, and nothing is ever unpickled.

    request   options (JSON), the frame
    answer    `ok` or what went wrong, {"dtype", "shape"} (JSON), the pixels (native byte order)
"""

from __future__ import annotations

import json
import os
import struct
from typing import IO, Any

LENGTH = struct.Struct("<Q")
ADDRESS_SPACE = 4 * 2**30  # bytes, of which a picture of 178,956,970 pixels in 16 bits takes a twelfth
OK = b"ok"


def send(file: IO[bytes], *parts: Any) -> None:
    """Write a message."""
    for part in parts:
        file.write(LENGTH.pack(memoryview(part).nbytes))
        file.write(part)
    file.flush()


def receive(file: IO[bytes], most: int) -> bytes:
    """Read one part of a message.

    Raises:
        EOFError: the other side is gone, or the part has more than `most` bytes.
    """
    header = file.read(LENGTH.size)
    length = LENGTH.unpack(header)[0] if len(header) == LENGTH.size else most + 1
    content = file.read(length) if length <= most else b""
    if length > most or len(content) != length:
        raise EOFError
    return content


def main() -> None:
    """Answer requests until stdin ends."""
    # What libraries print must not become part of an answer.
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder

    _limit()
    while True:
        try:
            options, frame = json.loads(receive(requests, 2**20)), receive(requests, 2**31)
        except EOFError:
            return
        try:
            decoder = get_decoder(options.pop("transfer_syntax"))
            pixels, _ = decoder.as_array(encapsulate([frame]), index=0, **options)
        except MemoryError:
            send(answers, b"it needs more than 4 GiB of memory", b"{}", b"")
        except BaseException as error:  # whatever a library raises, this process goes on
            send(answers, f"{error}".encode() or type(error).__name__.encode(), b"{}", b"")
        else:
            about = {"dtype": pixels.dtype.str, "shape": pixels.shape}
            send(answers, OK, json.dumps(about).encode(), pixels.tobytes())


def _limit() -> None:
    """No core files of crashes; no more than ADDRESS_SPACE, where the system can limit it."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    except (ImportError, ValueError, OSError):
        pass


if __name__ == "__main__":
    main()
