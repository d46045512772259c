"""The process that decodes compressed pixels, and what becomes of a picture whose decoder crashes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from couplet.images.decoding import helper
from couplet.images.decoding.decode import UnreadableImage, decode_picture
from couplet.images.decoding.helper import Helper, decode_frame
from tests.support.dicoms import dicom

SYNTAX = "1.2.840.10008.1.2.4.50"
GREY = np.tile(np.arange(40, dtype=np.uint8) * 6, (30, 1))


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "JPEG", quality=100)
    return file.getvalue()


OPTIONS = {
    "transfer_syntax": SYNTAX,
    "decoding_plugin": "pillow",
    "rows": 30,
    "columns": 40,
    "samples_per_pixel": 1,
    "photometric_interpretation": "MONOCHROME2",
    "planar_configuration": 0,
    "bits_allocated": 8,
    "bits_stored": 8,
    "pixel_representation": 0,
    "number_of_frames": 1,
    "pixel_keyword": "PixelData",
}
FILM = dicom(jpeg(), 8, SYNTAX, Rows=30, Columns=40)


OTHERS: set[int] = set()  # processes of other tests' helpers


@pytest.fixture(autouse=True)
def own_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper of the test's own: `_threads` is one for the whole process."""
    OTHERS.update(child.pid for child in psutil.Process().children())
    monkeypatch.setattr(helper, "_threads", threading.local())


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.pid not in OTHERS]


def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Another program in the place of the decoder's."""
    (tmp_path / "decoder_process.py").write_text(text)
    monkeypatch.setattr(helper, "PROGRAM", tmp_path / "decoder_process.py")


def test_a_frame_is_decoded_as_pillow_does() -> None:
    got = decode_frame(jpeg(), dict(OPTIONS), (30, 40))
    with Image.open(io.BytesIO(jpeg())) as image:
        np.testing.assert_array_equal(got, np.asarray(image))
    first = children()
    decode_frame(jpeg(), dict(OPTIONS), (30, 40))
    assert len(first) == 1 and children() == first  # one process for all of them


def test_a_frame_that_the_decoder_refuses() -> None:
    with pytest.raises(UnreadableImage, match=r"the pixel data cannot be decoded \(.*truncated"):
        decode_frame(jpeg()[:400], dict(OPTIONS), (30, 40))
    decode_frame(jpeg(), dict(OPTIONS), (30, 40))


def test_a_result_of_another_shape_is_not_believed() -> None:
    with pytest.raises(UnreadableImage):
        decode_frame(jpeg(), dict(OPTIONS), (30, 41))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_process_that_dies_costs_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    real = helper.PROGRAM
    program(tmp_path, monkeypatch, f"import os\nos.read(0, 10)\nos.kill(os.getpid(), {int(how)})\n")
    with pytest.raises(UnreadableImage, match="^the decoder crashed$"):
        decode_picture(FILM, 16, 1)
    monkeypatch.setattr(helper, "PROGRAM", real)
    assert decode_picture(FILM, 16, 1).width == 40


def test_a_process_that_was_killed_between_two_pictures_is_started_again() -> None:
    decode_picture(FILM, 16, 1)
    (child,) = children()
    child.kill()
    child.wait(10)
    assert decode_picture(FILM, 16, 1).width == 40
    assert children() != [child]


def test_a_decoder_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, monkeypatch, "import time\ntime.sleep(600)\n")
    monkeypatch.setattr(helper, "SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(UnreadableImage, match=r"^decoding took more than 0\.5 s$"):
        # More than a pipe holds: the request itself does not get through.
        decode_frame(bytes(10**6), dict(OPTIONS), (30, 40))
    assert time.monotonic() - start < 20
    assert not children()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\1\0\0",
        (2**62).to_bytes(8, "little"),
        (2).to_bytes(8, "little") + b"ok" + (2).to_bytes(8, "little") + b"{}" + (2**40).to_bytes(8, "little"),
    ],
)
def test_an_answer_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """Whatever a decoder that was taken over writes, at most the picture's own size is read."""
    program(tmp_path, monkeypatch, f"import os\nos.read(0, 10)\nos.write(1, {answer!r})\n")
    with pytest.raises(UnreadableImage, match="^the decoder crashed$"):
        decode_frame(jpeg(), dict(OPTIONS), (30, 40))


@pytest.mark.parametrize(
    "about", ['{"dtype": "|O8", "shape": [30, 40]}', '{"dtype": "|u1", "shape": [1200]}', "[]", "{", "{}"]
)
def test_a_kind_of_pixels_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, about: str) -> None:
    text = f"""
import os
os.read(0, 10)
for part in (b"ok", {about.encode()!r}, bytes(1200)):
    os.write(1, len(part).to_bytes(8, "little") + part)
"""
    program(tmp_path, monkeypatch, text)
    with pytest.raises(UnreadableImage):
        decode_frame(jpeg(), dict(OPTIONS), (30, 40))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the address space")
def test_memory_is_limited() -> None:
    # 16 bits x 3 samples of 40,000 x 40,000 pixels is more than 4 GiB.
    options = OPTIONS | {"rows": 40_000, "columns": 40_000, "samples_per_pixel": 3}
    options |= {"photometric_interpretation": "RGB", "bits_allocated": 16, "bits_stored": 16}
    with pytest.raises(UnreadableImage, match=r"\(it needs more than 4 GiB of memory\)$"):
        decode_frame(jpeg(), options, (30, 40))
    limits = psutil.Process(children()[0].pid).rlimit(psutil.RLIMIT_AS)
    assert limits == (4 * 2**30, 4 * 2**30)


def test_each_thread_has_its_own_and_leaves_none_behind() -> None:
    seen: list[Any] = []

    def work() -> None:
        decode_picture(FILM, 16, 1)
        seen.append(children())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(map(len, seen)) == 2
    # What a thread holds is let go after it was joined.
    assert not psutil.wait_procs(children(), timeout=30)[1]


def test_a_fork_does_not_end_the_helper_of_its_parent() -> None:
    own = Helper()
    pid = os.fork()
    if pid == 0:
        own._stop()
        os._exit(0)
    os.waitpid(pid, 0)
    assert own.alive
    own._stop()
    assert not own.alive


def test_the_helper_ends_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\nfrom couplet.images.decoding.helper import Helper\nown = Helper()\n"
        "print(own._process.pid, flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs([child], timeout=20)
    assert not child.is_running()
