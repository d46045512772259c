"""Honest timing: contenders in turn (A B A B ...), medians, and ratios taken round by round.

A machine's speed drifts, above all a shared one's. Two contenders of one round see the same machine, so the median
of their ratios says more than the ratio of two medians. A warm-up of each is not counted.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
# Real images and label tables, for who has them (docs/datasets.md says where they come from); never in the repository.
REAL_DATA = ROOT.parent / "shared" / "data"

Size = Literal["full", "tiny"]
Clock = Literal["wall", "cpu"]


@dataclass
class Samples:
    """Seconds of one contender, one entry per round. CPU seconds count child processes that have ended."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    result: Any = None  # of the last round

    def median(self, clock: Clock = "wall") -> float:
        return statistics.median(getattr(self, clock))


def interleave(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Samples]:
    """Run every contender once without counting, then `rounds` times in turn."""
    samples = {name: Samples() for name in contenders}
    for turn in range(rounds + 1):
        for name, contender in contenders.items():
            gc.collect()
            wall, cpu = time.perf_counter(), cpu_seconds()
            result = contender()
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            if turn:
                samples[name].wall.append(wall)
                samples[name].cpu.append(cpu)
                samples[name].result = result
    return samples


def ratio(slow: Samples, fast: Samples, clock: Clock = "wall") -> float:
    """How many times faster `fast` is: the median over the rounds.

    >>> ratio(Samples(wall=[4, 9, 8]), Samples(wall=[2, 3, 2]))
    3.0
    """
    return statistics.median(s / f for s, f in zip(getattr(slow, clock), getattr(fast, clock), strict=True))


def cpu_seconds() -> float:
    """User and system seconds of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@dataclass(frozen=True)
class CommandRun:
    """One finished command: seconds, and the peak memory in MB of the largest process it was made of."""

    wall: float
    cpu: float
    peak_mb: float
    output: str


def run_command(command: list[str], folder: Path, variables: Mapping[str, str] | None = None) -> CommandRun:
    """Run a command to its end; its output is shown if it fails.

    The kernel counts the memory of whoever starts a process as that process's own peak: a benchmark that asks for
    memory must not import torch itself.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}\n{output}")
    wall = time.perf_counter() - start
    return CommandRun(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


# --- what a benchmark reports -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A promised figure: what was measured, what was promised, and whether it holds (None: not measured)."""

    what: str
    measured: str
    promised: str
    holds: bool | None


def at_least(what: str, value: float, promised: float, unit: str = "x") -> Claim:
    """
    >>> at_least("macro-AUC", 12.34, 8)
    Claim(what='macro-AUC', measured='12.3x', promised='at least 8x', holds=True)
    """
    return Claim(what, figure(value) + unit, f"at least {figure(promised)}{unit}", bool(value >= promised))


def at_most(what: str, value: float, promised: float, unit: str = "") -> Claim:
    """As `at_least`, for what should be small."""
    return Claim(what, figure(value) + unit, f"at most {figure(promised)}{unit}", bool(value <= promised))


def not_measured(what: str, promised: str, why: str) -> Claim:
    return Claim(what, f"not measured: {why}", promised, None)


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers; numbers are shown with three digits."""

    caption: str
    columns: list[str]
    rows: list[list[str | float | int]]


@dataclass(frozen=True)
class Section:
    """What one benchmark found. Notes are sentences under its tables: what was left out, what limits it."""

    title: str
    tables: list[Table] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Section:
        return cls(
            content["title"],
            [Table(**table) for table in content["tables"]],
            [Claim(**claim) for claim in content["claims"]],
            list(content["notes"]),
        )


def figure(value: float | int | str) -> str:
    """Three digits, without an exponent where it can be read.

    >>> [figure(v) for v in (0.0, 7, 1234567, 0.01234, 12.345, 9.8e-6, "none")]
    ['0', '7', '1,234,567', '0.0123', '12.3', '9.8e-06', 'none']
    """
    if isinstance(value, str):
        return value
    if value == 0:
        return "0"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(table: Table) -> str:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    lines = [line(table.columns), line("---" for _ in table.columns)]
    lines += [line(figure(cell) for cell in row) for row in table.rows]
    return f"**{table.caption}**\n\n" + "\n".join(lines)


def machine() -> str:
    """The machine in words: processor, cores, memory, and the versions that decide its speed."""
    from importlib.metadata import version

    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    bf16 = "with" if "avx512_bf16" in text else "without"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "pillow", "dvc"))
    return (
        f"{names[0] if names else platform.processor() or platform.machine()} ({bf16} AVX-512 bf16), "
        f"{os.cpu_count()} cores, {memory:.0f} GiB memory, {platform.system()}; "
        f"Python {platform.python_version()}, {libraries}"
    )
