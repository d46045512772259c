"""What every launcher in stages/ does before its stage's code is imported, and how a stage is run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any


def fix_threads() -> None:
    """Fix the number of CPU threads to train.threads, before torch or numpy is imported.

    The thread count changes the order of floating-point sums and with it the last digits of every result.
    """
    from couplet.console import stage
    from couplet.params import load_params

    threads = str(stage(load_params)().train.threads)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = threads


def run(function: Callable[..., Any]) -> None:
    """Run a stage's typed entrypoint on the command line's arguments."""
    import typer

    from couplet.console import stage

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(stage(function))
    app()


def explain_missing_package(error: ModuleNotFoundError) -> None:
    """Say in one line that the wrong Python is running; leave with exit code 1."""
    if (error.name or "").startswith("couplet"):
        raise error
    remedy = "run `make .venv`, then `source .venv/bin/activate`"
    print(f"error: {error.name} is not installed for {sys.executable}: {remedy}", file=sys.stderr)
    raise SystemExit(1)
