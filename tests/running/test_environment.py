"""Stages started by a `python` that is not this checkout's: `.venv/bin/dvc repro` in a shell without the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STAGE = ("stages/split_mis.py",)
MADE_IT = "error: data/prepared/labels.json is not there: run `dvc repro` (or `dvc checkout`) to make it"

pytestmark = pytest.mark.skipif(
    sys.prefix == sys.base_prefix, reason="without an environment there are no two Pythons"
)


@pytest.fixture
def checkout(tmp_path: Path, project_root: Path) -> Path:
    """A checkout with the tests' environment as its .venv."""
    for name in ("src", "stages", "dvc.yaml"):
        (tmp_path / name).symlink_to(project_root / name)
    shutil.copy(project_root / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def run(folder: Path, *command: str) -> list[str]:
    """Lines on stderr."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COUPLET_"))}
    result = subprocess.run(command, cwd=folder, env=plain, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, ""), result
    return result.stderr.splitlines()


def other_python() -> str:
    """The Python that the environment is built on."""
    return str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")


def bare(folder: Path) -> tuple[str, ...]:
    """Another Python without any package (-S), as a shell without the environment may have."""
    return other_python(), "-S", *STAGE


def test_a_python_without_the_packages_goes_on_with_the_checkouts_own_and_says_so(checkout: Path) -> None:
    note, going_on, made_it = run(checkout, *bare(checkout))
    own = checkout / ".venv/bin/python"
    assert (
        note
        == f"note: running with {other_python()}, not with {own}: `source .venv/bin/activate` changes that"
    )
    assert going_on.endswith(f" is not installed for {other_python()}: going on with {own}")
    assert made_it == MADE_IT


def test_an_experiments_checkout_goes_on_with_the_main_checkouts(checkout: Path) -> None:
    experiment = checkout / ".dvc/tmp/exps/tmpabc"
    experiment.mkdir(parents=True)
    for name in ("src", "stages", "dvc.yaml", "params.yaml"):
        (experiment / name).symlink_to(checkout / name)
    assert run(experiment, *bare(experiment))[-2:] == [
        run(checkout, *bare(checkout))[-2],
        MADE_IT,
    ]


def test_without_an_environment_of_its_own_it_says_what_to_do(checkout: Path) -> None:
    (checkout / ".venv").unlink()
    (line,) = run(checkout, *bare(checkout))
    assert line.startswith("error: ") and line.endswith(
        f" is not installed for {other_python()}: run `make .venv`, then `source .venv/bin/activate`"
    )


def test_an_environment_that_lacks_a_package_is_not_tried_twice(checkout: Path) -> None:
    (checkout / ".venv").unlink()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    *_, going_on, line = run(checkout, *bare(checkout))
    assert going_on.endswith(f"going on with {checkout}/.venv/bin/python")
    assert line.endswith(
        f" is not installed for {checkout}/.venv/bin/python: run `make .venv`, then `source .venv/bin/activate`"
    )


def test_another_environment_that_has_all_packages_is_named(checkout: Path) -> None:
    """Nothing fails, and the numbers would be those of other versions: said, never silent."""
    (checkout / ".venv").unlink()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    assert run(checkout, sys.executable, *STAGE) == [
        f"note: running with {sys.executable}, not with {checkout}/.venv/bin/python: `source .venv/bin/activate` "
        "changes that",
        MADE_IT,
    ]


def test_the_checkouts_own_python_has_nothing_to_say(checkout: Path) -> None:
    assert run(checkout, str(checkout / ".venv/bin/python"), *STAGE) == [MADE_IT]


def test_a_python_that_is_too_old_goes_on_too(checkout: Path, project_root: Path) -> None:
    """Stages need 3.11; what an older one fails at differs from version to version, so the version is asked."""
    program = (
        "import runpy, sys; sys.version_info = (3, 9, 2); sys.argv = ['stages/split_mis.py']; sys.path[0] = 'stages';"
        "runpy.run_path('stages/split_mis.py', run_name='__main__')"
    )
    lines = run(checkout, other_python(), "-S", "-c", program)
    assert lines[-2].endswith(
        f"{other_python()} is Python 3.9, not 3.11 or newer: going on with {checkout}/.venv/bin/python"
    )
    assert lines[-1] == MADE_IT
