"""How a stage's process begins and ends, in processes of their own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from couplet.running.launch import noting_termination
from couplet.settings.params import load_params

LAUNCHER = """\
import sys
sys.path.insert(0, {src!r})
from couplet.running.launch import prepare_process, run_stage

prepare_process()
import gc
import pandas
{imports}

from couplet.project.errors import UserError

def split_mis(number: int = 0) -> None:
    sys.stdout.write("said, not flushed; ")
    {body}

run_stage(split_mis)
"""


def launch(root: Path, body: str, *arguments: str, imports: str = "pass") -> subprocess.CompletedProcess[str]:
    """A launcher of the stage split_mis whose entrypoint does `body`; no file is written."""
    code = LAUNCHER.format(src=str(root / "src"), body=body, imports=imports)
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("body", "arguments", "code", "output", "error"),
    [
        ("pass", (), 0, "said, not flushed; ", ""),
        ("raise UserError('what to do')", (), 1, "said, not flushed; ", "error: what to do\n"),
        ("raise SystemExit(7)", (), 7, "said, not flushed; ", ""),
        ("pass", ("--number", "x"), 2, "", "error: Invalid value for '--number'"),
    ],
)
def test_output_and_exit_code_survive_the_quick_end(
    project_root: Path, body: str, arguments: tuple[str, ...], code: int, output: str, error: str
) -> None:
    result = launch(project_root, body, *arguments)
    assert (result.returncode, result.stdout) == (code, output)
    assert result.stderr.startswith(error) and result.stderr.count("\n") == bool(error)


def test_a_defect_shows_its_traceback_and_nothing_else(project_root: Path) -> None:
    result = launch(project_root, "raise RuntimeError('a defect')", imports="import timm")
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback") and result.stderr.endswith("RuntimeError: a defect\n")


def test_garbage_is_collected_again_once_all_is_imported(project_root: Path) -> None:
    body = "print(gc.isenabled(), gc.get_freeze_count() > 50_000)"
    result = launch(project_root, body, imports="print(gc.isenabled(), end=' ')")
    assert result.stdout == "False said, not flushed; True True\n"


def test_the_number_of_threads_is_set_before_anything_is_imported(project_root: Path) -> None:
    imports = "import os; print(os.environ['OMP_NUM_THREADS'], end=' ')"
    threads = launch(project_root, "pass", imports=imports).stdout.split()[0]
    assert int(threads) == load_params(project_root / "params.yaml").train.threads


# --- COUPLET_LAUNCH_<STAGE> -----------------------------------------------------------------------------------


def launched(
    root: Path, folder: Path, words: str, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """The stage split_mis's launcher, from a file of its name, under COUPLET_LAUNCH_SPLIT_MIS."""
    script = folder / "split_mis.py"
    body = "print(repr(sys.argv[1:])); raise SystemExit(7)"
    code = LAUNCHER.replace("number: int = 0", "name: str = ''").format(
        src=str(root / "src"), body=body, imports="pass"
    )
    script.write_text(code)
    environment = os.environ | {"COUPLET_LAUNCH_SPLIT_MIS": words} | variables
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_a_stage_replaces_itself_once_by_its_launcher(project_root: Path, tmp_path: Path) -> None:
    """Words in quotes and arguments with spaces arrive as they are, and so does the exit code."""
    prefix = tmp_path / "a prefix"
    prefix.write_text(
        f'#!/bin/sh\necho "prefix got $# words, first $1"\nshift\nexec {shlex.quote(sys.executable)} "$@"\n'
    )
    prefix.chmod(0o755)
    result = launched(
        project_root, tmp_path, f"{shlex.quote(str(prefix))} 'one word'", "--name", "with a space"
    )
    assert result.stdout == (
        "prefix got 4 words, first one word\nsaid, not flushed; ['--name', 'with a space']\n"
    )
    assert (result.returncode, result.stderr) == (7, "")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("torchrrun --standalone", "error: COUPLET_LAUNCH_SPLIT_MIS: torchrrun is not on the PATH\n"),
        (
            "srun 'python",
            "error: COUPLET_LAUNCH_SPLIT_MIS cannot be split into words (No closing quotation): mend its quotes\n",
        ),
    ],
)
def test_words_that_are_no_command_are_refused(
    project_root: Path, tmp_path: Path, words: str, error: str
) -> None:
    result = launched(project_root, tmp_path, words)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", error)


@pytest.mark.parametrize(("words", "variables"), [("torchrrun", {"COUPLET_LAUNCHED": "1"}), (" ", {})])
def test_what_was_launched_or_has_no_launcher_runs_at_once(
    project_root: Path, tmp_path: Path, words: str, variables: dict[str, str]
) -> None:
    result = launched(project_root, tmp_path, words, **variables)
    assert (result.returncode, result.stdout) == (7, "said, not flushed; []\n")


def test_within_the_block_sigterm_only_sets_a_flag() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with noting_termination() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
    assert signal.getsignal(signal.SIGTERM) is before
