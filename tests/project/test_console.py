from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from couplet.project.console import complain, progress, stage
from couplet.project.errors import UserError


def test_user_errors_are_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    @stage
    def fails() -> None:
        raise UserError("table.csv row 3: what to do")

    with pytest.raises(SystemExit) as caught:
        fails()
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: table.csv row 3: what to do\n"


@pytest.mark.parametrize("number", [errno.EIO, errno.EFBIG, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_every_fault_of_the_machine_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    @stage
    def fails() -> None:
        raise OSError(number, os.strerror(number), "data/x.npy")

    with pytest.raises(SystemExit):
        fails()
    assert capsys.readouterr().err.startswith(f"error: {os.strerror(number)} (data/x.npy): mend that")


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    @stage
    def fails() -> None:
        raise OSError(28, "No space left on device", "data/x.npy")

    with pytest.raises(SystemExit) as caught:
        fails()
    assert caught.value.code == 1
    assert capsys.readouterr().err == (
        "error: No space left on device (data/x.npy): mend that, then run `dvc repro` to go on from here\n"
    )


def test_our_own_bugs_keep_their_traceback() -> None:
    @stage
    def fails() -> None:
        raise FileNotFoundError(2, "No such file or directory", "x")

    with pytest.raises(FileNotFoundError):
        fails()


def test_a_closed_pipe_is_silent() -> None:
    code = "from couplet.project.console import say, stage\n@stage\ndef f():\n  for i in range(99999): say('line')\nf()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_progress_without_a_terminal_says_each_quarter(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(8), "decode")) == list(range(8))
    assert capsys.readouterr().out.splitlines() == [
        "decode: 2/8",
        "decode: 4/8",
        "decode: 6/8",
        "decode: 8/8",
    ]


def test_an_error_is_one_line_whatever_a_name_holds(capsys: pytest.CaptureFixture[str]) -> None:
    complain("a\nb \x1b[2J \ud800 ü")
    assert capsys.readouterr().err == "error: a\\nb \\x1b[2J \\ud800 ü\n"
    complain("x" * 10**6 + ": the remedy")
    line = capsys.readouterr().err
    assert len(line) < 3000 and line.endswith(": the remedy\n")
