"""Loaded by every Python that has this folder on its path: lets a test act at an exact moment of a stage or of DVC.

The variable FAULT holds JSON: `program` ("train_fold", "dvc", or null for both), `project`, and what to do at one file
operation below the project: `at` is its name ("rename data/splits/folds.csv") and how many of that name came before.

    record    write all operations to <log>.<program>.<fold>, one per line, and touch nothing
    stop      say so in `marker` and stop, as with Ctrl-Z: the test now kills whom it wants, or lets it go on
    pass      say so in `marker` and go on: the test kills a moment later
    fail      this operation and all later writes fail with `errno`
    truncate  empty the file that is about to be rewritten, cut at `keep` bytes, and die: a kill in mid-rewrite
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# The temporary names of couplet.project.files and of DVC differ from run to run.
TEMPORARY = re.compile(r"\.(\d+|[\w-]{22})\.tmp$")
CODE = re.compile(r"(^|/)(src|stages|__pycache__|\.git|\.venv)(/|$)")


class Hook:
    def __init__(self, fault: dict[str, Any]) -> None:
        self.fault, self.busy = fault, False
        self.operation_at, self.left = fault.get("at", ("", 0))
        self.reached = False
        self.project = os.path.realpath(fault["project"])
        self.sync = os.fsync

    def install(self) -> None:
        os.fsync = self.fsync
        sys.addaudithook(self.audit)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.busy:
            return
        if event == "open":
            path, _, flags = arguments
            self.operation("write" if flags & WRITES else "read", path)
        elif event == "os.rename":
            self.operation("rename", arguments[1])
        elif event in ("os.remove", "os.rmdir", "os.mkdir", "os.link"):
            self.operation(event[3:], arguments[-1] if event == "os.link" else arguments[0])

    def fsync(self, file: int) -> None:
        self.operation("fsync", Path(f"/proc/self/fd/{file}").readlink())
        self.sync(file)

    def operation(self, kind: str, path: Any) -> None:
        if isinstance(path, int) or self.busy:
            return
        self.busy = True
        try:
            name = os.path.relpath(Path.cwd() / os.fsdecode(path), self.project)
            if name.startswith("..") or CODE.search(name):
                return
            if _program() == "dvc" and (kind == "read" or name.startswith(".dvc/tmp/lock")):
                return
            self.act(kind, TEMPORARY.sub(".tmp", name), path)
        finally:
            self.busy = False

    def act(self, kind: str, name: str, path: Any) -> None:
        todo, now = self.fault["do"], False
        if not self.reached and f"{kind} {name}" == self.operation_at:
            self.reached = now = self.left == 0
            self.left -= 1
        if todo == "record":
            with Path(f"{self.fault['log']}.{_program()}.{'.'.join(sys.argv[1:])}").open("a") as log:
                log.write(f"{kind} {name}\n")
        elif todo == "fail":
            if self.reached and kind not in ("read", "remove", "rmdir"):
                number = self.fault["errno"]
                raise OSError(number, os.strerror(number), *([] if kind == "fsync" else [str(path)]))
        elif now and todo == "truncate":
            content = Path(path).read_bytes() if Path(path).exists() else b""
            Path(path).write_bytes(content[: self.fault["keep"]])
            os.killpg(0, signal.SIGKILL)
        elif now:
            Path(self.fault["marker"]).write_text(f"{os.getpid()}.")
            if todo == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)


def _program() -> str | None:
    for argument in sys.orig_argv[1:3]:
        if argument.startswith("stages/") or "/stages/" in argument:
            return Path(argument).stem
        if Path(argument).name == "dvc":
            return "dvc"
    return None


if "FAULT" in os.environ:
    fault = json.loads(os.environ["FAULT"])
    if _program() and fault["program"] in (None, _program()):
        Hook(fault).install()
