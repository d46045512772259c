"""pipeline: one `dvc repro` of the phantom in a fresh checkout, and where its seconds go."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.harness import ROOT, Section, Size, Table, at_most, interleave, run_command
from couplet.project.project import Project as Paths
from couplet.settings.params import Params, flatten, load_params
from couplet.settings.presets import load_preset
from couplet.settings.sources.phantom import Settings
from tests.support.projects import TINY, Project, new_project

TARGETS: dict[Size, list[str]] = {"full": [], "tiny": ["train_fold@0"]}  # none: the whole graph
CHANGES = {"full": {}, "tiny": TINY | {"split.folds": [0, 1], "schedule.epochs": 2}}
TINY_COHORT = {"n_patients": 30, "size": 48}
NO_OPS = {"full": 3, "tiny": 1}
LARGEST = 5  # packages that are named with their share of the imports

DRAW = """
import sys
from pathlib import Path
from couplet.phantom.drawing import draw_phantom
draw_phantom(Path(sys.argv[1]), **eval(sys.argv[2]))
"""
NOTES = [
    "One `dvc repro` in a fresh checkout without data: `prepare` draws the phantom too. Each stage is a process of its "
    "own; imports are what Python's `-X importtime` counts in it from start to end, the interpreter's own and late "
    "ones included; work is the rest of its life.",
    "Peak memory is the largest resident set among the runs of a stage. Own memory leaves out the pages of files "
    "(libraries, mapped data): its largest value among looks every 10 ms.",
]

# Runs one stage and notes in a log what it took. It is small, and so is what it adds to a stage's seconds and memory.
STOPWATCH = r"""
import json, os, re, sys, time

python, log, *arguments = sys.argv[1:]
errors = f"{log}.{os.getpid()}"
start = time.perf_counter()
redirect = [(os.POSIX_SPAWN_OPEN, 2, errors, os.O_WRONLY | os.O_CREAT, 0o600)]
stage = os.posix_spawn(python, [python, "-X", "importtime", *arguments], os.environ, file_actions=redirect)
own_kb, ended = [0], 0
while not ended:
    time.sleep(0.01)
    if os.path.exists(f"/proc/{stage}/status"):
        with open(f"/proc/{stage}/status") as file:
            own_kb += map(int, re.findall(r"RssAnon:\s+(\d+)", file.read()))
    ended, status, usage = os.wait4(stage, os.WNOHANG)
seconds = time.perf_counter() - start
with open(errors) as file:
    stderr = file.read()
with open(log, "a") as file:
    print(json.dumps([arguments, seconds, usage.ru_maxrss / 1024, max(own_kb) / 1024, stderr]), file=file)
if status:
    print(stderr, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""
Rows = list[list[str | float | int]]


@dataclass(frozen=True)
class StageRun:
    """One launcher: seconds, peak memory (all of it, and without files), and each package's seconds of importing."""

    stage: str
    seconds: float
    peak_mb: float
    own_mb: float
    imports: dict[str, float]

    @property
    def importing(self) -> float:
        return sum(self.imports.values())

    @property
    def work(self) -> float:
        return self.seconds - self.importing


def run(size: Size) -> Section:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawing = draw(folder / "raw/phantom", committed_cohort() if size == "full" else TINY_COHORT)
        project = fresh_checkout(folder, CHANGES[size])
        if size == "full":  # a small one must stay: the stage would draw the whole one
            shutil.rmtree(folder / "raw")
        repro = ["dvc", "repro", *TARGETS[size]]
        whole = run_command(repro, project.folder, with_stopwatch_as_python(project))
        runs = read_log(folder)
        no_op = interleave({"no-op": lambda: project.run(*repro)}, NO_OPS[size])["no-op"]
        assert "Data and pipelines are up to date" in no_op.result.stdout
    where: Rows = [
        ["stages: interpreter + imports", sum(run.importing for run in runs)],
        ["stages: work, drawing the phantom included", sum(run.work for run in runs)],
        ["DVC", whole.wall - sum(run.seconds for run in runs)],
        ["whole `dvc repro`", whole.wall],
        ["the same in CPU seconds", whole.cpu],
        ["for comparison: drawing the phantom, alone", drawing],
        ["`dvc repro` with nothing to do", no_op.median()],
    ]
    claims = [
        at_most("`dvc repro` of the phantom in a fresh checkout", whole.wall, 75, " s"),
        at_most("`dvc repro` with nothing to do", no_op.median(), 2, " s"),
    ]
    return Section(
        "pipeline", [stage_table(runs), Table("Whole runs", ["what", "seconds"], where)], claims, NOTES
    )


def stage_table(runs: list[StageRun]) -> Table:
    """One row per stage; of several folds the mean."""
    rows: Rows = []
    for name in dict.fromkeys(run.stage for run in runs):
        same = [run for run in runs if run.stage == name]
        packages = sorted(same[0].imports.items(), key=lambda item: -item[1])[:LARGEST]
        rows.append(
            [
                name,
                len(same),
                mean(run.seconds for run in same),
                mean(run.importing for run in same),
                mean(run.work for run in same),
                max(run.peak_mb for run in same),
                max(run.own_mb for run in same),
                ", ".join(f"{package} {seconds:.2f}" for package, seconds in packages),
            ]
        )
    columns = [
        "stage",
        "runs",
        "seconds of one",
        "imports",
        "work",
        "peak MB",
        "own MB",
        "largest imports, seconds",
    ]
    return Table("Stages", columns, rows)


# --- a checkout, and how its stages are watched ---------------------------------------------------------------


def committed_cohort() -> dict[str, int]:
    """How the committed run's phantom is drawn, as `draw_phantom` takes it."""
    return cohort_of(load_params(ROOT / "params.yaml"))


def cohort_of(params: Params) -> dict[str, int]:
    """How a run's phantom is drawn, as `draw_phantom` takes it; what is not set is the adapter's default."""
    args = Settings.model_validate(params.data.source_args)
    return {"n_patients": args.patients, "size": args.size}


def large_phantom() -> dict[str, Any]:
    """Dotted settings in which the preset phantom_large differs from the committed run's."""
    large, small = (
        flatten(load_preset(name, Paths(ROOT)).as_dict()) for name in ("phantom_large", "phantom")
    )
    return {key: value for key, value in large.items() if value != small[key] and key != "preset"}


def draw(folder: Path, cohort: dict[str, int]) -> float:
    """Draw a phantom; the seconds it took. In a process of its own: what it imports would count as the stages'."""
    folder.parent.mkdir(exist_ok=True)
    return run_command([sys.executable, "-c", DRAW, str(folder), repr(cohort)], folder.parent).wall


def fresh_checkout(folder: Path, changes: dict[str, Any]) -> Project:
    """A checkout in folder/project of the data in folder/raw, as a user has it before the first run."""
    project = new_project(folder / "project", "phantom", folder / "raw", changes)
    project.variables["DVC_SITE_CACHE_DIR"] = str(folder / "site")  # DVC's notes on a checkout stay beside it
    return project


def stopwatch(folder: Path) -> list[str]:
    """The command that runs `python` with further arguments and notes in folder/log what it took."""
    (folder / "stopwatch.py").write_text(STOPWATCH)
    return [sys.executable, "-IS", str(folder / "stopwatch.py"), sys.executable, str(folder / "log")]


def with_stopwatch_as_python(project: Project) -> dict[str, str]:
    """The project's environment, but DVC finds the stopwatch where it looks for `python`."""
    folder = project.folder.parent
    (folder / "bin").mkdir()
    (folder / "bin/python").write_text(f'#!/bin/sh\nexec {shlex.join(stopwatch(folder))} "$@"\n')
    (folder / "bin/python").chmod(0o755)
    return project.environment | {"PATH": f"{folder / 'bin'}:{project.environment['PATH']}"}


def read_log(folder: Path) -> list[StageRun]:
    runs = []
    for line in (folder / "log").read_text().splitlines():
        arguments, seconds, peak_mb, own_mb, stderr = json.loads(line)
        runs.append(StageRun(Path(arguments[0]).stem, seconds, peak_mb, own_mb, import_seconds(stderr)))
    return runs


def import_seconds(stderr: str) -> dict[str, float]:
    """Per package what -X importtime wrote: each module's own seconds, without those of what it imports.

    >>> import_seconds("import time:   1000000 |    1500000 | torch.nn\\nimport time:    500000 |  500000 |   torch")
    {'torch': 1.5}
    """
    seconds: dict[str, float] = defaultdict(float)
    for own, module in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", stderr, re.MULTILINE):
        seconds[module.split(".")[0]] += int(own) / 1e6
    return dict(seconds)
