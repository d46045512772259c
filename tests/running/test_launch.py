"""How a stage's process begins and ends, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
