"""What a case is - what is given, and what must become of it - and the ways in which projects are spoiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.in_process import InProcessProject

Given = Callable[[InProcessProject], object]


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        name: what is wrong, as bad-inputs.md lists it.
        given: spoils a healthy project.
        run: commands, separated by commas; the last is the one that refuses or handles the input.
        base: the healthy project, a key of `healthy.BASES`.
        refused: the one line of the error, in full. Empty: the input is handled.
        code: exit code of a refusal.
        happens: what becomes of an input that is handled, in words.
        said: lines that the last command prints.
        quarantined: image id -> reason, all of them.
        finds: (name of a method of InProcessProject, its arguments ...) -> what it gives.
        same: the outputs are byte for byte what they were before.
        environment: variables of the last command.
    """

    name: str
    given: Given
    run: str = "scan, prepare"
    base: str = "csv"
    refused: str = ""
    code: int = 1
    happens: str = ""
    said: tuple[str, ...] = ()
    quarantined: Mapping[str, str] = field(default_factory=dict)
    finds: Mapping[tuple[str, ...], Any] = field(default_factory=dict)
    same: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def commands(self) -> list[list[str]]:
        """Arguments of each command."""
        return [command.split() for command in self.run.split(", ")]


# --- ways to spoil a project ---------------------------------------------------------------------------------
# In paths {raw} is the raw folder of the data set and {project} the project's.


def nothing(project: InProcessProject) -> None:
    """For cases in which the command itself is wrong."""


def both(*givens: Given) -> Given:
    """One after the other."""
    return lambda project: [given(project) for given in givens]


def after_scan(given: Given) -> Given:
    """What `scan` itself would refuse, set when it has run."""
    return both(lambda project: project.run("scan"), given)


def setting(key: str, value: Any, **more: Any) -> Given:
    """Change params.yaml, without any validation."""
    return lambda project: project.set({key: value, **more})


def file(path: str, content: str | bytes) -> Given:
    """Write a file."""

    def write(project: InProcessProject) -> None:
        target = place(project, path)
        target.unlink(missing_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def text(path: str, change: Callable[[str], str]) -> Given:
    """Change a file's text; it must become another."""

    def rewrite(project: InProcessProject) -> None:
        target = place(project, path)
        before = target.read_bytes().decode()
        after = change(before)
        assert after != before, path
        target.write_bytes(after.encode())

    return rewrite


def replaced(path: str, old: str, new: str, count: int = -1) -> Given:
    """Replace text in a file: everywhere, or the first few."""
    return text(path, lambda content: content.replace(old, new, count))


def cut(path: str, share: float) -> Given:
    """Keep only the first part of a file."""

    def shorten(project: InProcessProject) -> None:
        target = place(project, path)
        content = target.read_bytes()
        target.write_bytes(content[: int(share * len(content))])

    return shorten


def removed(path: str) -> Given:
    """Take a file away."""
    return lambda project: place(project, path).unlink()


def link(path: str, target: str) -> Given:
    """Put a symbolic link in the place of a file."""

    def change(project: InProcessProject) -> None:
        place(project, path).unlink(missing_ok=True)
        place(project, path).symlink_to(place(project, target))

    return change


def folder(path: str) -> Given:
    """Put a folder in the place of a file."""

    def change(project: InProcessProject) -> None:
        place(project, path).unlink(missing_ok=True)
        place(project, path).mkdir()

    return change


def place(project: InProcessProject, path: str) -> Path:
    """A path below the project's folder, or an absolute one."""
    return project.folder / path.format(raw=project.raw, project=project.folder)
