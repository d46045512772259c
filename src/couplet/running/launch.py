"""How a stage's process begins, runs and ends: the same from its launcher in stages/ and from `couplet <stage>`."""

from __future__ import annotations

import functools
import gc
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

    from couplet.settings.schema.train import TrainParams

OLDEST_PYTHON = (3, 11)
# Libraries that ask the hub for weights must not send it statistics; they read this when they are imported.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def prepare_process(read_train: Callable[[], TrainParams] | None = None) -> None:
    """Before a stage's code is imported: a fixed arithmetic, and Python's garbage collector off.

    Imports make hundreds of thousands of objects that all stay; collecting among them takes a third of the time that
    torch and timm need to be imported. `guarded` turns the collector on again.

    Args:
        read_train: gives the section `train` that says which arithmetic; None: that of params.yaml.
    """
    sys.excepthook = explain_missing_package
    name_other_environment()
    if sys.version_info < OLDEST_PYTHON:
        has, needs = _dotted(sys.version_info[:2]), _dotted(OLDEST_PYTHON)
        stop_or_go_on(f"{sys.executable} is Python {has}, not {needs} or newer")
        raise SystemExit(1)
    gc.disable()
    from couplet.project.console import stage
    from couplet.running.arithmetic import fix_environment
    from couplet.settings.params import load_params

    train = stage(read_train)() if read_train else stage(load_params)().train
    stage(replace_by_launcher)()
    fix_environment(train.threads, train.arithmetic)


def replace_by_launcher() -> None:
    """Start this stage over through the words of COUPLET_LAUNCH_<STAGE>, if they are set: once.

    `torchrun --nproc-per-node=4` makes four processes of it, `srun --gpus=1 python` runs it on another host. They are
    in the environment because no result depends on them.

    Raises:
        UserError: the words' first one is no command.
    """
    script = Path(sys.argv[0])
    variable = f"COUPLET_LAUNCH_{script.stem.upper()}"
    if os.environ.get("COUPLET_LAUNCHED") == "1" or not os.environ.get(variable, "").strip():
        return
    from couplet.project.errors import UserError

    try:
        command = shlex.split(os.environ[variable])
    except ValueError as error:
        raise UserError(f"{variable} cannot be split into words ({error}): mend its quotes") from None
    # A package's command is beside this Python, also where its folder is not on the PATH (`.venv/bin/dvc repro`).
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)))
    program = shutil.which(command[0], path=places)
    if program is None:
        raise UserError(f"{variable}: {command[0]} is not on the PATH")
    os.environ["COUPLET_LAUNCHED"] = "1"
    sys.stdout.flush()
    os.execv(program, [*command, *sys.argv])


@contextmanager
def noting_termination() -> Iterator[Callable[[], bool]]:
    """Within the block SIGTERM only sets a flag, which the given function reads: the block ends when it can."""
    asked = []
    before = signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGTERM, before)


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A stage's entrypoint as it is always run: no changed inputs, and a user's mistake is one line.

    The function must be named like its stage in dvc.yaml.
    """
    from couplet.project.console import stage
    from couplet.running.provenance import refuse_changed_inputs

    checked = stage(refuse_changed_inputs(function))

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        gc.enable()
        return checked(*args, **kwargs)

    return run


def run_stage(function: Callable[..., Any]) -> None:
    """Run a stage's typed entrypoint on the command line's arguments, and end the process."""
    import typer

    gc.freeze()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(guarded(function))
    try:
        run_app(app)
    except SystemExit as finished:
        sys.stdout.flush()
        sys.stderr.flush()
        # Without Python's clean-up: all files are written, and unloading torch takes seconds.
        code = finished.code
        os._exit(code if isinstance(code, int) else int(code is not None))
    except BaseException:
        gc.unfreeze()  # some libraries complain at the end about what was never collected
        raise


def run_app(app: typer.Typer, arguments: list[str] | None = None, name: str | None = None) -> None:
    """Run a Typer app on `arguments` (None: the command line's); a wrong one is one line and exit code 2."""
    import typer

    from couplet.project.console import complain

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
        # Some versions of Typer put their validator's own words in front.
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        complain(f"{message}: `{help_}` says what it takes")
        raise SystemExit(2) from None
    raise SystemExit(code)


def explain_missing_package(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """In the place of `sys.excepthook`: the wrong Python is running, in one line; anything else as ever."""
    name = getattr(error, "name", None) or ""
    if not issubclass(kind, ModuleNotFoundError) or name.startswith("couplet"):
        return sys.__excepthook__(kind, error, traceback)
    return stop_or_go_on(f"{name} is not installed for {sys.executable}")


def stop_or_go_on(reason: str) -> None:
    """Where this Python cannot run a stage: start over with the checkout's own, and say so; else say what to do.

    `.venv/bin/dvc repro` in a shell without the environment runs stages with whatever `python` is on the PATH.
    """
    own = _own_python()
    if own is None:
        print(f"error: {reason}: run `make .venv`, then `source .venv/bin/activate`", file=sys.stderr)
        return
    print(f"{reason}: going on with {own}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os.execv(own, [str(own), *sys.argv])


def name_other_environment() -> None:
    """Say that this Python is not that of the checkout's .venv: its versions may give other numbers."""
    own = _own_python()
    if own is not None:
        remedy = "`source .venv/bin/activate` changes that"
        print(f"note: running with {sys.executable}, not with {own}: {remedy}", file=sys.stderr, flush=True)


def _own_python() -> Path | None:
    """The Python of this checkout's .venv (of the main one's in an experiment), unless it is the one that runs."""
    from couplet.project.project import HERE

    environment = HERE.main_checkout / ".venv"
    python = environment / "bin" / "python"
    return python if os.access(python, os.X_OK) and not environment.samefile(sys.prefix) else None


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
