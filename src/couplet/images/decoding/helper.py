"""The other side of `decoder_process`: a process per decoding thread, started when it is first needed.

A decoder that is given hostile bytes may crash, hang or take all memory. Then that process is gone, the picture is
unreadable, and the next one gets a new process (half a second).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from couplet.images.decoding import decoder_process
from couplet.images.decoding.decoder_process import OK, receive, send
from couplet.images.decoding.picture import UnreadableImage

SECONDS = 60.0  # for one picture
PROGRAM = Path(decoder_process.__file__)
DTYPES = {
    "|u1",
    "|i1",
    *(f"{'<' if sys.byteorder == 'little' else '>'}{kind}{n}" for kind in "ui" for n in (2, 4)),
}
# One thread in each process; without a user's files and flags that could change what is imported.
ENVIRONMENT = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


class Helper:
    """One decoding process."""

    def __init__(self) -> None:
        # -P: the folder of the program, which holds couplet's modules, is not searched for imports.
        # In a group of its own, Ctrl-C ends it by the end of its stdin, without a word.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | ENVIRONMENT,
            process_group=0,
        )
        self.owner = os.getpid()
        self._stop = weakref.finalize(self, _stop, self._process, self.owner)

    @property
    def alive(self) -> bool:
        """Whether it can take a request."""
        return self._stop.alive and self._process.poll() is None

    def decode(self, frame: bytes, options: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
        """Have one frame decoded.

        Raises:
            UnreadableImage: it cannot be decoded into whole numbers of this shape, or the process died of it.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(SECONDS, end)
        timer.daemon = True
        timer.start()
        try:
            send(stdin, json.dumps(options).encode(), frame)
            said = receive(stdout, 2**20)
            about = receive(stdout, 2**20)
            pixels = receive(stdout, 4 * int(np.prod(shape)))
        except (EOFError, OSError):
            self._stop()
            if late.is_set():
                raise UnreadableImage(f"decoding took more than {SECONDS:g} s") from None
            raise UnreadableImage("the decoder crashed") from None
        finally:
            timer.cancel()
        if said != OK:
            raise UnreadableImage(
                f"the pixel data cannot be decoded ({_stable(said.decode(errors='replace'))})"
            )
        return _array(about, pixels, shape)


def decode_frame(frame: bytes, options: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """Decode one compressed frame in the helper process of this thread.

    Args:
        frame: the code stream.
        options: `transfer_syntax`, `decoding_plugin` and what pydicom's decoders need to know of the picture.
        shape: what the header says the result has: (H, W) or (H, W, 3).

    Returns:
        Stored values, or RGB; whole numbers.

    Raises:
        UnreadableImage: the frame cannot be decoded: the decoder refuses it, crashes, takes more than 60 s or 4 GiB.
    """
    helper: Helper | None = getattr(_threads, "helper", None)
    if helper is None or not helper.alive or helper.owner != os.getpid():
        helper = _threads.helper = Helper()
    return helper.decode(frame, options, shape)


_threads = threading.local()


def _array(about: bytes, content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels of an answer, which is not believed: hostile bytes may have taken that process over."""
    try:
        said = json.loads(about)
        if said["dtype"] in DTYPES and tuple(said["shape"]) == shape:
            return np.frombuffer(content, said["dtype"]).reshape(shape)
    except (ValueError, TypeError, KeyError):
        pass
    raise UnreadableImage("the pixel data is decoded into another shape than the header says")


def _stop(process: subprocess.Popen[bytes], owner: int) -> None:
    """End the process, unless this is a fork of the one that started it."""
    if os.getpid() == owner:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            try:
                assert pipe is not None
                pipe.close()
            except OSError:  # what was not read any more
                pass


def _stable(text: str) -> str:
    """An error of pydicom's: what the one decoder said that was asked, without addresses, paths and quoted values."""
    text = text.rpartition("available plugins:")[2]
    text = re.sub(r"<[^>]*>|0x[0-9a-fA-F]+|'[^']*'|\"[^\"]*\"|/\S+", "...", " ".join(text.split()))
    return text[:200]
