"""The kinds of faults. Each takes a bench and a seeded draw and returns what is to be repaired by `dvc repro`."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.bench import (
    At,
    Bench,
    Missed,
    at_index,
    damage,
    hook,
    kill,
    moment,
    output,
    program,
    reach,
    start,
    unhook,
    wait_until_gone,
)
from tests.support.projects import Project


@dataclass
class Struck:
    """A disturbed project: what was done, what has to be done at the second `dvc repro`, what to undo after it."""

    project: Project
    what: str
    beside: Callable[[], None] | None = None  # runs a moment after the second `dvc repro` has started
    clean: list[Callable[[], None]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # what was wrong already while it was disturbed


Strike = Callable[[Bench, str, random.Random], Struck]


def choose(bench: Bench, stage: str, draw: random.Random) -> At:
    """A file operation of a stage: first which part of its work, then which operation, all equally likely."""
    operations = bench.operations[stage]
    return at_index(operations, by_part([moment(stage, operation) for operation in operations], draw))


def by_part(parts: list[str], draw: random.Random) -> int:
    """The index of one operation: first which part of the work, then which operation of it."""
    part = draw.choice(sorted(set(parts)))
    return draw.choice([index for index, other in enumerate(parts) if other == part])


def one_of(operations: list[str], draw: random.Random, wanted: Callable[[str], bool]) -> At:
    """One of the operations that are wanted."""
    return at_index(operations, draw.choice([i for i, op in enumerate(operations) if wanted(op)]))


def is_write(operation: str) -> bool:
    """Whether it can fail on a full disk."""
    return operation.startswith(("write", "fsync", "rename"))


# --- kill -9 ----------------------------------------------------------------------------------------------


def kill_stage(bench: Bench, stage: str, draw: random.Random) -> Struck:
    """The stage's process alone; DVC lives and reports it."""
    project, at = bench.copy(stage), choose(bench, stage, draw)
    dvc, number = reach(project, program(stage), at)
    os.kill(number, signal.SIGKILL)
    dvc.wait()
    return Struck(project, f"{moment(stage, at[0])}: {at[0]}")


def kill_group(bench: Bench, stage: str, draw: random.Random) -> Struck:
    """DVC and the stage at once, as when a machine is reset; a moment after a file operation in half the cases."""
    project, at = bench.copy(stage), choose(bench, stage, draw)
    late = draw.random() * 0.3 if draw.random() < 0.5 else 0.0
    dvc, _ = reach(project, program(stage), at, "pass" if late else "stop")
    time.sleep(late)
    with suppress(ProcessLookupError):
        kill(dvc, group=True)
    return Struck(project, f"{moment(stage, at[0])}: {f'{late:.2f} s after ' if late else ''}{at[0]}")


def kill_dvc(bench: Bench, stage: str, draw: random.Random) -> Struck:
    """DVC alone: the stage lives on, and may still be at work when `dvc repro` is run again."""
    project, at = bench.copy(stage), choose(bench, stage, draw)
    dvc, number = reach(project, program(stage), at)
    kill(dvc, group=False)
    delay = draw.random() * 4

    def go_on() -> None:
        time.sleep(delay)
        os.kill(number, signal.SIGCONT)

    what = f"{moment(stage, at[0])}: {at[0]}, the stage goes on {delay:.1f} s into the next run"
    return Struck(project, what, beside=go_on, clean=[lambda: wait_until_gone(number)])


def kill_any_time(bench: Bench, stage: str, draw: random.Random) -> Struck:
    """Everything, at a random time of the run: while Python starts, while DVC hashes, anywhere."""
    seconds = bench.duration(stage)
    project, after = bench.copy(stage), draw.random() * seconds
    dvc = start(project)
    time.sleep(after)
    with suppress(ProcessLookupError):
        kill(dvc, group=True)
    return Struck(project, f"after {after:.1f} s of {seconds:.1f}")


def part_of_dvc(operation: str) -> str:
    """What DVC writes to: its cache, its run cache, the outputs, dvc.lock, or its own locks."""
    path = operation.split(" ", 1)[1]
    if path.startswith(".dvc/"):
        return "/".join(path.split("/")[1:3])
    return "dvc.lock" if path == "dvc.lock" else "outputs"


def kill_at_commit(bench: Bench, stage: str, draw: random.Random) -> Struck:
    """Everything, while DVC takes over what the stage wrote: hashing, cache, links, run cache, its locks."""
    operations = bench.operations_of("dvc", stage)
    first = next(i for i, operation in enumerate(operations) if operation.startswith("mkdir .dvc/cache"))
    last = max(i for i, operation in enumerate(operations) if operation == "write dvc.lock")
    parts = [part_of_dvc(operation) for operation in operations[first : last + 1]]
    at = at_index(operations, first + by_part(parts, draw))
    project = bench.copy(stage)
    dvc, _ = reach(project, "dvc", at)
    kill(dvc, group=True)
    return Struck(project, f"DVC at {at[0]}")


def kill_in_rewrite(
    bench: Bench, stage: str, draw: random.Random, name: str, keep: int | None = None
) -> Struck:
    """Everything, while DVC rewrites dvc.lock or its rwlock in place: what it leaves is a cut file."""
    at = one_of(bench.operations_of("dvc", stage), draw, lambda op: op == f"write {name}")
    project = bench.copy(stage)
    if keep is None:
        size = (bench.finished.folder / name).stat().st_size
        keep = draw.randrange(0, size // 8192 + 1) * 8192  # Python writes it in pieces of this size
    hook(project, program="dvc", do="truncate", at=at, keep=keep)
    code = start(project).wait()
    unhook(project)
    if code != -signal.SIGKILL:
        raise Missed
    return Struck(project, f"{name} cut at {keep} bytes")


# --- writes that fail -------------------------------------------------------------------------------------


def fail_writes(bench: Bench, stage: str, draw: random.Random) -> Struck:
    """From one file operation on, every write of the stage fails. It must say so in one line."""
    number = draw.choice([errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
    at = one_of(bench.operations[stage], draw, is_write)
    project = bench.copy(stage)
    hook(project, program=program(stage), do="fail", at=at, errno=number)
    code = start(project).wait()
    unhook(project)
    struck = Struck(project, f"{errno.errorcode[number]} at {at[0]}")
    struck.faults += one_line_error(project, code, os.strerror(number))
    return struck


def limit_size(bench: Bench, stage: str, draw: random.Random) -> Struck:
    """A limit on the size of files (ulimit -f), for DVC and the stage."""
    project = bench.copy(stage)
    limit = draw.choice([2**10, 2**12, 2**14, 2**15, 2**16])
    if start(project, limit).wait() == 0:
        raise Missed  # nothing that large was written
    return Struck(project, f"at {limit} bytes")


def fill_disk(bench: Bench, stage: str, draw: random.Random) -> Struck:
    """A real file system that runs full under DVC and the stage, and then has space again."""
    project, disk = bench.copy(stage), bench.folder / f"disk{bench.copies}"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk))
    full = Project(disk / "project", project.variables)
    shutil.move(project.folder, full.folder)
    left = int(10 ** draw.uniform(3, 6.4))
    filler = disk / "filler"
    with filler.open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(disk).free - left)))
    code = start(full).wait()
    filler.unlink()
    if code == 0:
        unmount(disk)
        raise Missed  # what was left was enough
    struck = Struck(full, f"with {left} bytes left (exit {code})")
    struck.clean.append(lambda: unmount(disk))
    return struck


def read_only(bench: Bench, stage: str, draw: random.Random) -> Struck:
    """A folder that the stage or DVC writes to is mounted read-only."""
    folders = {
        "prepare": ["data", ".scratch"],
        "train_fold@0": ["data/models", ".scratch"],
        "evaluate_fold@0": ["metrics", "plots", "data/predictions"],
        "report": ["plots"],
    }
    folder = draw.choice(folders[stage])
    project = bench.copy(stage)
    place = str(project.folder / folder)
    mount("--bind", place, place)
    mount("-o", "remount,ro,bind", place)
    code = start(project).wait()
    unmount(Path(place))
    if code == 0:
        raise Missed
    return Struck(project, f"{folder} (exit {code})")


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def unmount(place: Path) -> None:
    subprocess.run(["umount", str(place)], check=True, capture_output=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount file systems."""
    place = folder / "mount"
    place.mkdir(exist_ok=True)
    try:
        mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place))
    except (OSError, subprocess.CalledProcessError):
        return False
    unmount(place)
    return True


def one_line_error(project: Project, code: int, reason: str) -> list[str]:
    """What is wrong with how a failed stage reported it."""
    printed = output(project).read_text(errors="replace")
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    wrong = []
    if code == 0:
        wrong.append("the disturbed run claimed success")
    if len(errors) != 1 or reason not in errors[0]:
        wrong.append(f"it printed {errors} and not one line with {reason!r}")
    if "Traceback" in printed:
        wrong.append("it printed a traceback")
    return wrong


# --- damaged files ----------------------------------------------------------------------------------------


def damage_checkpoint(bench: Bench, stage: str, draw: random.Random, part: str) -> Struck:
    """A training run is killed, and then its checkpoint is damaged."""
    operations = bench.operations[stage]
    steps = [i for i, operation in enumerate(operations) if "/.checkpoint.json" in operation]
    last = next(i for i, operation in enumerate(operations) if operation == "mkdir data/models/fold_0")
    # "best" is there after the first epoch, and an index of it two files later.
    first = next(i for i in steps if i > next(j for j, op in enumerate(operations) if "/.best" in op))
    at = at_index(operations, draw.randrange((first if part == "best" else steps[0]) + 4, last))
    project = bench.copy(stage)
    dvc, _ = reach(project, program(stage), at)
    kill(dvc, group=True)
    file = draw.choice(sorted((project.folder / ".scratch/train_fold").glob(f"*/{part}*")))
    return Struck(project, f"{damage(file, draw)} {file.name}, killed at {at[0].split()[0]}")


def damage_shard(bench: Bench, stage: str, draw: random.Random, suffix: str) -> Struck:
    """A finished shard in scratch, or its record, is damaged before prepare runs again."""
    project = bench.copy()
    scratch = shutil.copytree(project.folder / ".scratch", project.folder.with_suffix(".scratch"))
    bench.drop(project)
    project = bench.copy(stage)
    shutil.copytree(scratch, project.folder / ".scratch", dirs_exist_ok=True)
    file = draw.choice(sorted((project.folder / ".scratch/prepare").glob(f"*/*{suffix}")))
    return Struck(project, f"{damage(file, draw)} *{suffix}")


def damage_linked_shard(bench: Bench, stage: str, draw: random.Random) -> Struck:
    """Killed before DVC took over: data/prepared shares its shard with scratch, and one write damages both."""
    operations = bench.operations[stage]
    project = bench.copy(stage)
    dvc, _ = reach(
        project, program(stage), at_index(operations, operations.index("rename data/prepared") + 1)
    )
    kill(dvc, group=True)
    file = project.folder / "data/prepared/images-00000.npy"
    assert file.stat().st_nlink == 2
    return Struck(project, f"{damage(file, draw)} in both at once")


TRACKED = {
    "data/prepared/images-00000.npy": "train_fold@0",
    "data/prepared/manifest.csv": "split_mis",
    "data/prepared/labels.json": "evaluate_fold@0",
    "data/splits/folds.csv": "train_fold@0",
    "data/models/fold_0/predictor.safetensors": "evaluate_fold@0",
    "data/models/fold_0/config.json": "ensemble_predict",
    "data/predictions/folds/fold_0.csv": "ensemble_predict",
    "metrics/fold_0.json": "report",
    "plots/per_label/fold_0.csv": "report",
    "data/predictions/ensemble/test.csv": "report",
    "plots/report.html": "report",
    "plots/figures/couplings.png": "report",
}


def damage_tracked(bench: Bench, stage: str, draw: random.Random, name: str) -> Struck:
    """A file that DVC tracks, before a stage that reads it is run."""
    reader = TRACKED[name]
    written_by_reader = name.startswith("plots/report") or name.startswith("plots/figures")
    project = bench.copy(None if written_by_reader else reader)
    file = project.folder / name
    if not file.exists():
        file = draw.choice(sorted(file.parent.glob("*.png")))
    how = damage(file, draw)
    return Struck(project, f"{how} {name}" + ("" if written_by_reader else f" before {reader}"))


def damage_under_way(bench: Bench, stage: str, draw: random.Random, name: str) -> Struck:
    """After DVC has checked a file and before the stage reads it."""
    at = one_of(bench.operations[stage], draw, lambda op: op == f"read {name}")
    project = bench.copy(stage)
    dvc, number = reach(project, program(stage), at)
    how = damage(project.folder / name, draw)
    os.kill(number, signal.SIGCONT)
    code = dvc.wait()
    return Struck(project, f"{how} {name} (exit {code})")


# --- settings that change ---------------------------------------------------------------------------------

CHANGES: dict[str, dict[str, Any]] = {
    "prepare": {"image.store_size": 34},
    "split_mis": {"seed": 43},
    "train_fold@0": {"refiner.alpha": 0.9},
    "evaluate_fold@0": {"inference.tta": False},
    "ensemble_predict": {"inference.tta": False},
    "report": {"refiner.alpha": 0.9},
}


def edit_under_way(bench: Bench, stage: str, draw: random.Random) -> Struck:
    """params.yaml is edited while the stage runs: its result must not be recorded under the new settings."""
    at = one_of(bench.operations[stage], draw, is_write)
    project = bench.copy(stage)
    dvc, number = reach(project, program(stage), at)
    before = (project.folder / "params.yaml").read_bytes()
    project.set_params(CHANGES[stage])
    os.kill(number, signal.SIGCONT)
    code = dvc.wait()
    (project.folder / "params.yaml").write_bytes(before)
    struck = Struck(project, f"at {at[0]}")
    printed = output(project).read_text(errors="replace")
    if code == 0 or "changed while" not in printed:
        struck.faults.append(f"a result of the old settings was taken for one of the new (exit {code})")
    return struck


def edit_and_orphan(bench: Bench, stage: str, draw: random.Random) -> Struck:
    """DVC is killed, the stage lives on, and meanwhile params.yaml is edited and run, then put back."""
    project, at = bench.copy(stage), choose(bench, stage, draw)
    dvc, number = reach(project, program(stage), at)
    kill(dvc, group=False)
    before = (project.folder / "params.yaml").read_bytes()
    project.set_params(CHANGES[stage])
    timer = threading.Timer(draw.random() * 6, lambda: os.kill(number, signal.SIGCONT))
    timer.start()
    project.run("dvc", "repro", stage)
    timer.join()
    (project.folder / "params.yaml").write_bytes(before)
    struck = Struck(project, f"{moment(stage, at[0])}: {at[0]}")
    struck.clean.append(lambda: wait_until_gone(number))
    return struck
