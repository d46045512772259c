from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

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


SPEAKER = """\
import sys
from pathlib import Path
from couplet.project.console import complain, progress, say, stage
from couplet.project.errors import UserError

@stage
def speak():
    say("Pleuraerguß, 肺炎, 🫁, \\udce9")
    list(progress(range(4), "décodage 肺"))
    complain("fichier é肺\\udce9.png")
    raise UserError("é肺")

speak()
"""


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"PYTHONIOENCODING": "latin-1"}, b"Pleuraergu\xdf, \\u80ba\\u708e, \\U0001fac1, \\udce9"),
        ({"PYTHONIOENCODING": "ascii"}, b"Pleuraergu\\xdf, \\u80ba\\u708e, \\U0001fac1, \\udce9"),
        (
            {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
            b"Pleuraergu\\xdf, \\u80ba\\u708e, \\U0001fac1, \\udce9",
        ),
        ({"PYTHONIOENCODING": "utf-8"}, "Pleuraerguß, 肺炎, 🫁, \\udce9".encode()),
    ],
)
def test_a_terminal_that_lacks_a_character_gets_its_number(variables: dict[str, str], line: bytes) -> None:
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LC_", "LANG"))}
    result = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", SPEAKER.encode("ascii", "backslashreplace").decode()],
        capture_output=True,
        env=plain | variables,
        check=False,
    )
    assert (result.returncode, b"Traceback" in result.stderr) == (1, False), result.stderr
    assert result.stdout.split(b"\n")[0] == line
    assert result.stdout.count(b"\n") == 5 and result.stderr.count(b"\n") == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("arguments", [["--help"], ["preset"], ["check", "--help"], ["chek"], []])
def test_no_command_line_ends_in_a_traceback_for_want_of_a_character(
    project_root: Path, encoding: str, arguments: list[str]
) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "couplet", *arguments],
        capture_output=True,
        cwd=project_root,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        check=False,
    )
    assert b"Traceback" not in result.stderr and result.returncode in (0, 2)
    assert result.stdout or result.stderr
