"""What a stage says: plain lines, or progress bars where there is a terminal; errors in one line."""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TextIO, TypeVar

from couplet.project.errors import ProcessError, Stopped, UserError
from couplet.project.text_tables import keep_text_in_python

T = TypeVar("T")
# Faults of the machine that the user can mend: a full or read-only disk, a limit, missing rights, a broken device,
# a folder in the place of a file.
MACHINE_FAULTS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EISDIR,
    errno.ENOTDIR,
}

_silent = False


def fall_silent() -> None:
    """From here on only errors of this process alone are said: another process of the same stage speaks for it."""
    global _silent
    _silent = True


def say(message: str) -> None:
    """Print plain lines at once, so that logs of killed runs are complete."""
    if _silent:
        return
    _print("\n".join(one_line(line) for line in message.split("\n")), sys.stdout)


def complain(message: str) -> None:
    """Print an error in one line on stderr; of a very long one (a value may be any size) both ends."""
    if len(message) > 3000:
        message = f"{message[:2000]} ... {message[-500:]}"
    _print(f"error: {one_line(message)}", sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    # A terminal may lack characters that a label or a file name has: it gets their numbers, and nothing is stopped.
    encoding = stream.encoding or "utf-8"  # a stream in memory has none
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def one_line(text: str) -> str:
    r"""The text with everything that is not printable escaped: names in data may hold line ends or escape codes.

    >>> print(one_line("a\nb \x1b[31m"))
    a\nb \x1b[31m
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items`; show a bar in a terminal, otherwise one line at each quarter of `total`."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty() and not _silent:
        from rich.console import Console
        from rich.progress import track

        yield from track(items, description, total, console=Console(stderr=True), transient=True)
        return
    for done, item in enumerate(items, start=1):
        yield item
        if total and done * 4 // total > (done - 1) * 4 // total:
            say(f"{description}: {done}/{total}")


def stage(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a UserError into one line on stderr and exit code 1; leave everything else to the traceback."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        keep_text_in_python()
        try:
            return function(*args, **kwargs)
        except UserError as error:
            if not _silent or isinstance(error, ProcessError):
                complain(str(error))
            raise SystemExit(1) from None
        except Stopped as stopped:
            if not _silent:
                _print(one_line(str(stopped)), sys.stderr)
            raise SystemExit(128 + signal.SIGTERM) from None
        except BrokenPipeError:
            # The reader of our output is gone (DVC was killed): there is nobody left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        except OSError as error:
            if error.errno not in MACHINE_FAULTS:
                raise
            name = error.filename2 or error.filename  # of a rename the target: the source is a temporary file
            where = f" ({name})" if name else ""
            complain(f"{error.strerror}{where}: mend that, then run `dvc repro` to go on from here")
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            _print("interrupted: run `dvc repro` again to go on from here", sys.stderr)
            raise SystemExit(128 + signal.SIGINT) from None

    return run
