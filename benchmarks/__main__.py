"""python -m benchmarks [NAME ...] [--tiny]: run benchmarks, one process each, and write benchmarks/RESULTS.md.

Without a name all of them run but the studies, which have answered their question.

What a benchmark found is kept in benchmarks/results/<name>.json, so that one can be run again alone, or on another
machine, and the page still shows all.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.harness import Section, Size, machine, markdown

FOLDER = Path(__file__).parent
NAMES = (
    "training_input",
    "training_step",
    "training_epoch",
    "prepare",
    "codec",
    "codec_auc",
    "splitting",
    "splitting_1m",
    "combined",
    "metrics",
    "trust",
    "fresh_patients",
    "engines",
    "pipeline",
    "growth",
    "growth_1m",
    "combined_1m",
    "scale_out",
    "gpu",
)
# They have answered their question: their results stay on the page, and they run when they are named.
STUDIES = (
    "training_epoch",
    "codec_auc",
    "splitting_1m",
    "fresh_patients",
    "growth_1m",
    "combined_1m",
    "scale_out",
)
DEFAULT = tuple(name for name in NAMES if name not in STUDIES)
NAMES_HELP = (
    f"Which of {', '.join(DEFAULT)} (without a name: all of these), "
    f"or of the studies, which have answered their question and run only when named: {', '.join(STUDIES)}."
)
PAGE = """# How fast couplet is

Written by `make bench`. Contenders run in turn, after a warm-up of each; figures are medians over the rounds, and a
ratio is the median of the rounds' ratios. Opponents are what one would run instead; each
benchmark's file says what exactly.

Studies that have answered their question keep their results here, and run only when they are named: {studies}
(`make bench ONLY=codec_auc`).

## What is promised, and what was measured

| | measured | promised | holds |
| --- | --- | --- | --- |
{claims}

{sections}
"""


def main(
    names: Annotated[list[str] | None, typer.Argument(help=NAMES_HELP)] = None,
    tiny: Annotated[bool, typer.Option(help="the sizes of the tests; prints and writes nothing")] = False,
) -> None:
    """Run benchmarks and write RESULTS.md."""
    for name in names or DEFAULT:
        if name not in NAMES:
            raise typer.BadParameter(f"{name!r} is no benchmark: choose from {', '.join(NAMES)}")
        print(f"{name} ...", flush=True)
        section = run_alone(name, "tiny" if tiny else "full")
        if tiny:
            print(rendered(name, section.as_dict() | {"machine": machine()}))
            continue
        content = json.dumps(section.as_dict() | {"machine": machine()}, indent=1) + "\n"
        (FOLDER / "results" / f"{name}.json").write_text(content)
    if not tiny:
        (FOLDER / "RESULTS.md").write_text(page())


def run_alone(name: str, size: Size) -> Section:
    """Run one benchmark in a fresh interpreter: no imports, threads or caches of another one."""
    # One thread per process: how many cores a contender uses is decided by its number of processes.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, name, size).result()


def run(name: str, size: Size) -> Section:
    section = importlib.import_module(f"benchmarks.{name}").run(size)
    assert isinstance(section, Section)
    return section


def page() -> str:
    """RESULTS.md from all results that are there."""
    files = {name: FOLDER / "results" / f"{name}.json" for name in NAMES}
    contents = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    verdicts = {True: "yes", False: "**no**", None: "-"}
    claims = [
        f"| {claim.what} | {claim.measured} | {claim.promised} | {verdicts[claim.holds]} |"
        for content in contents.values()
        for claim in Section.from_dict(content).claims
    ]
    sections = [rendered(name, content) for name, content in contents.items()]
    studies = ", ".join(f"`{name}`" for name in STUDIES)
    return PAGE.format(studies=studies, claims="\n".join(claims), sections="\n\n".join(sections))


def rendered(name: str, content: dict[str, object]) -> str:
    """One section of the page."""
    section = Section.from_dict(content)
    parts = [f"## {section.title}", f"`make bench ONLY={name}` on: {content['machine']}."]
    parts += [markdown(table) for table in section.tables]
    parts += ["\n".join(f"- {note}" for note in section.notes)] if section.notes else []
    return "\n\n".join(parts)


if __name__ == "__main__":
    # By its importable name: the processes that it starts could not find what belongs to __main__.
    from benchmarks.__main__ import main as importable

    typer.run(importable)
