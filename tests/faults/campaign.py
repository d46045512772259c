"""Inject faults one after another, run `dvc repro` again, compare with the undisturbed run, count."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from tests.faults import kinds
from tests.faults.bench import STAGES, Bench, Missed, couplet, program
from tests.faults.kinds import Strike, Struck

# How a disturbed run ended.
SAME, MENDED, HAND, WRONG = "same bytes", "same bytes after the named command", "needed a hand", "wrong"


@dataclass(frozen=True)
class Fault:
    kind: str
    stage: str
    strike: Strike


@dataclass(frozen=True)
class Outcome:
    fault: Fault
    ended: str
    what: str
    why: str


def all_faults(mounts: bool) -> list[Fault]:
    """Every kind at every stage that it makes sense for."""
    faults = []
    for stage in STAGES:
        faults += [
            Fault("kill -9 of the stage", stage, kinds.kill_stage),
            Fault("kill -9 of DVC and the stage", stage, kinds.kill_group),
            Fault("kill -9 of DVC, the stage lives on", stage, kinds.kill_dvc),
            Fault("kill -9 at any time", stage, kinds.kill_any_time),
            Fault("kill -9 while DVC takes over outputs", stage, kinds.kill_at_commit),
            Fault("writes fail (ENOSPC, EIO, EROFS, EDQUOT)", stage, kinds.fail_writes),
            Fault("settings edited while it runs", stage, kinds.edit_under_way),
        ]
        if mounts:
            faults.append(Fault("disk full", stage, kinds.fill_disk))
    for stage in ("prepare", "train_fold@0", "evaluate_fold@0", "report"):
        faults.append(Fault("file size limit (EFBIG)", stage, kinds.limit_size))
        if mounts:
            faults.append(Fault("folder read-only", stage, kinds.read_only))
    for stage in ("prepare", "train_fold@0"):
        faults.append(Fault("settings edited, orphaned stage", stage, kinds.edit_and_orphan))
    for part in ("state", "best", "checkpoint.json"):
        strike = partial(kinds.damage_checkpoint, part=part)
        faults.append(Fault("damaged checkpoint", "train_fold@0", strike))
    for suffix in (".npy", ".json"):
        faults.append(Fault("damaged scratch shard", "prepare", partial(kinds.damage_shard, suffix=suffix)))
    faults.append(Fault("damaged scratch shard", "prepare", kinds.damage_linked_shard))
    for name in kinds.TRACKED:
        stage = kinds.TRACKED[name]
        faults.append(Fault("damaged tracked file", stage, partial(kinds.damage_tracked, name=name)))
    for name, stage in (
        ("data/models/fold_0/predictor.safetensors", "evaluate_fold@0"),
        ("data/splits/folds.csv", "train_fold@0"),
        ("data/predictions/folds/fold_0.csv", "ensemble_predict"),
    ):
        strike = partial(kinds.damage_under_way, name=name)
        faults.append(Fault("file damaged while the stage runs", stage, strike))
    for name, stage in (("dvc.lock", "split_mis"), ("dvc.lock", "report"), (".dvc/tmp/rwlock", "split_mis")):
        strike = partial(kinds.kill_in_rewrite, name=name)
        faults.append(Fault("kill -9 while DVC rewrites its own lock", stage, strike))
    return faults


def draw_faults(number: int, seed: int, mounts: bool) -> list[Fault]:
    """`number` faults in random order: each kind once, then again from the start."""
    draw, chosen = random.Random(seed), []
    while len(chosen) < number:
        faults = all_faults(mounts)
        draw.shuffle(faults)
        chosen += faults
    return chosen[:number]


def inject(bench: Bench, faults: list[Fault], seed: int) -> Iterator[Outcome]:
    """Strike, repair by `dvc repro`, judge; one after another."""
    for number, fault in enumerate(faults):
        draw = random.Random(f"{seed} {number}")
        for _ in range(5):
            with suppress(Missed):
                struck = fault.strike(bench, fault.stage, draw)
                break
        else:
            raise AssertionError(f"{fault} was missed five times")
        try:
            yield judge(bench, fault, struck)
        finally:
            for clean in struck.clean:
                clean()
            bench.drop(struck.project)


def judge(bench: Bench, fault: Fault, struck: Struck) -> Outcome:
    """Run `dvc repro` again and say how it ended."""
    project = struck.project
    beside = threading.Thread(target=struck.beside) if struck.beside else None
    if beside:
        beside.start()
    result = project.run("dvc", "repro", check=False)
    if beside:
        beside.join()
        struck.clean.pop(0)()  # the orphan has ended: whatever it does, it has done
        settled = project.run("dvc", "status", "-q", check=False).returncode == 0
        if result.returncode == 0 and not settled:
            struck.faults.append("the orphaned stage changed results after the next run had ended")
    ended, why = SAME, ""
    if result.returncode != 0:
        ended, why = HAND, (result.stdout + result.stderr).strip().replace("\n", " | ")[-300:]
        command = named_command(result.stdout + result.stderr)
        if command:
            couplet(project, *command[1:]) if command[0] == "couplet" else project.run(*command)
            again = project.run("dvc", "repro", check=False)
            if again.returncode == 0:
                ended = MENDED
    differences = [*struck.faults, *(bench.differences(project) if ended != HAND else [])]
    if differences:
        ended, why = WRONG, ", ".join(differences[:4])
    return Outcome(fault, ended, struck.what, why)


def named_command(printed: str) -> list[str] | None:
    """The command that an error names; for DVC's own errors about its locks, the one that docs/reliability.md names."""
    for line in printed.splitlines():
        if line.startswith("error: ") and (found := re.search(r"`((?:dvc|couplet) [^`]+)`", line)):
            return found[1].split()
    if (
        "dvc.lock' validation failed" in printed
        or "RWLock-file" in printed
        or "dvc.lock' is invalid" in printed
    ):
        return ["couplet", "recover"]
    return None


def table(outcomes: list[Outcome]) -> str:
    """Faults by kind and stage, and how they ended."""
    stages = [program(stage) for stage in STAGES]
    ends = [SAME, MENDED, HAND, WRONG]
    counted = dict.fromkeys([outcome.fault.kind for outcome in sorted(outcomes, key=_order)], 0)
    lines = [
        f"| fault | {' | '.join(stages)} | all | {' | '.join(ends)} |",
        f"|---|{'---:|' * (len(stages) + 1 + len(ends))}",
    ]
    for kind in [*counted, "all"]:
        rows = [outcome for outcome in outcomes if kind in (outcome.fault.kind, "all")]
        by_stage = Counter(program(outcome.fault.stage) for outcome in rows)
        by_end = Counter(outcome.ended for outcome in rows)
        cells = [*(by_stage[stage] or "" for stage in stages), len(rows), *(by_end[end] for end in ends)]
        lines.append(f"| {kind} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _order(outcome: Outcome) -> int:
    return [fault.kind for fault in all_faults(mounts=True)].index(outcome.fault.kind)


def run(bench: Bench, faults: list[Fault], seed: int, say: Callable[[str], None] = print) -> list[Outcome]:
    """Inject all of them, one line each."""
    outcomes = []
    began = time.monotonic()
    for number, outcome in enumerate(inject(bench, faults, seed), start=1):
        outcomes.append(outcome)
        fault = outcome.fault
        why = f" <- {outcome.why}" if outcome.why else ""
        say(
            f"{number:3}/{len(faults)} {time.monotonic() - began:5.0f} s  {fault.kind}, {fault.stage} "
            f"({outcome.what}): {outcome.ended}{why}"
        )
    return outcomes
