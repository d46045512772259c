"""`make faults`: inject faults into the real graph and print how the runs ended."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults.bench import Bench
from tests.faults.campaign import HAND, WRONG, draw_faults, run, table
from tests.faults.kinds import can_mount

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--number", type=int, default=82, help="how many faults")
parser.add_argument("--seed", type=int, default=1, help="which moments, files and bytes")
parser.add_argument("--only", default="", help="faults whose kind or stage contains this")
arguments = parser.parse_args()

with tempfile.TemporaryDirectory() as temporary:
    folder = Path(temporary).resolve()
    mounts = can_mount(folder)
    if not mounts:
        print("mounting is not allowed here: no full and no read-only file systems")
    faults = draw_faults(arguments.number, arguments.seed, mounts)
    faults = [f for f in faults if arguments.only in f"{f.kind}, {f.stage}"]
    outcomes = run(Bench.build(folder), faults, arguments.seed, lambda line: print(line, flush=True))

print(f"\n{len(outcomes)} faults, seed {arguments.seed}\n\n{table(outcomes)}")
sys.exit(any(outcome.ended in (HAND, WRONG) for outcome in outcomes))
