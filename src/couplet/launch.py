"""What every launcher in stages/ does before its stage's code is imported, and how a stage is run."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

# Libraries that ask the hub for weights must not send it statistics; they read this when they are imported.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


@contextmanager
def starting() -> Iterator[None]:
    """Around the imports of a stage: a fixed arithmetic, and no search for garbage.

    Imports make hundreds of thousands of objects that all stay; looking through them again and again for garbage
    takes a third of the time that torch and timm need to be imported.
    """
    gc.disable()
    fix_arithmetic()
    yield
    gc.freeze()
    gc.enable()


def fix_arithmetic() -> None:
    """Fix threads and instruction sets as params.yaml says, before numpy or torch is imported."""
    from couplet.arithmetic import fix_environment
    from couplet.console import stage
    from couplet.params import load_params

    train = stage(load_params)().train
    fix_environment(train.threads, train.arithmetic)


def run(function: Callable[..., Any]) -> None:
    """Run a stage's typed entrypoint on the command line's arguments."""
    import typer

    from couplet.console import stage
    from couplet.scratch import refuse_changed_inputs

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(stage(refuse_changed_inputs(function)))
    try:
        run_app(app)
    except SystemExit as finished:
        sys.stdout.flush()
        sys.stderr.flush()
        # At once: all files are written, and to take torch apart object by object takes seconds.
        code = finished.code
        os._exit(code if isinstance(code, int) else int(code is not None))
    except BaseException:
        gc.unfreeze()  # some libraries complain at the end about what was never collected
        raise


def run_app(app: typer.Typer, arguments: list[str] | None = None, name: str | None = None) -> None:
    """Run a Typer app on `arguments` (None: the command line's); a wrong one is one line and exit code 2."""
    import typer

    from couplet.console import complain

    try:
        code = typer.main.get_command(app).main(arguments, name, standalone_mode=False)
    except Exception as error:
        # Click's own exceptions; Typer brings them along under changing names.
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            raise SystemExit(2) from None
        context = getattr(error, "ctx", None)
        help_ = f"{context.command_path} --help" if context else "--help"
        complain(f"{error.format_message().rstrip('.')}: `{help_}` says what it takes")
        raise SystemExit(2) from None
    raise SystemExit(code)


def explain_missing_package(error: ModuleNotFoundError) -> None:
    """Say in one line that the wrong Python is running; leave with exit code 1."""
    if (error.name or "").startswith("couplet"):
        raise error
    remedy = "run `make .venv`, then `source .venv/bin/activate`"
    print(f"error: {error.name} is not installed for {sys.executable}: {remedy}", file=sys.stderr)
    raise SystemExit(1)
