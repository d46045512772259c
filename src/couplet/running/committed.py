"""Whether the results here are those of the last commit, and if they are not, why."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from couplet.project.project import HERE
from couplet.running.arithmetic import lacks_avx2, processor
from couplet.settings.params import Params, load_params

SYSTEMS = "metrics/systems.csv"  # of other runs: the report reads it, no stage writes it
RESULTS = ("metrics", "plots", f":(exclude){SYSTEMS}")  # what git has of a run
INPUTS = (
    *("params.yaml", "data/inventory.json", "data/weights.json", "dvc.yaml", "stages", "src", "presets"),
    SYSTEMS,
)
# What decides the digits of metrics and the bytes of figures.
NUMERIC = ("torch", "timm", "numpy", "scipy", "pandas", "scikit-learn", "pillow", "matplotlib")
CONSTRAINTS = Path("constraints.txt")
OWN_MACHINE = "compare it with runs of this machine only (README, the ablation)"


def compared_with_commit(params: Params, *more: Path) -> str | None:
    """One line: these results are the committed ones, or why they are not; None where git cannot say.

    Args:
        params: what the results were made with.
        more: tracked files that count as results too.
    """
    changed = _changed(*RESULTS, *map(str, more))
    if changed is None:
        return None
    if not changed:
        return "the results are those of the last commit, byte for byte"
    return f"{changed[0]}{_more(changed)} differs from the last commit, {_reason(params)}"


def _reason(params: Params) -> str:
    inputs = _changed(*INPUTS) or []
    if inputs:
        return f"as {inputs[0]}{_more(inputs)} does"
    if params.train.arithmetic == "native":
        return (
            "because train.arithmetic is native: the digits are those of the machine that each model's config.json "
            f"names; {OWN_MACHINE}"
        )
    if lacks_avx2() is not None:
        return f"because {lacks_avx2()}: portable arithmetic needs an x86-64 CPU with AVX2; {OWN_MACHINE}"
    others = [
        f"{name} {have} (constraints.txt: {wanted})" for name, have, wanted in _versions() if have != wanted
    ]
    if others:
        return f"because other versions are installed: {', '.join(others)}; `make .venv` installs them"
    return (
        "although settings, code, versions and arithmetic are the commit's: run `dvc repro`; if that changes "
        f"nothing, please report it with your CPU ({processor()}) and C library"
    )


def _changed(*places: str) -> list[str] | None:
    """Files below `places` that differ from the last commit or are new; None outside a git checkout."""
    command = ["git", "status", "--porcelain", "--no-renames", "--untracked-files=all", "--", *places]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return [line[3:] for line in result.stdout.splitlines()] if result.returncode == 0 else None


def _more(files: list[str]) -> str:
    return f" (and {len(files) - 1} more)" if len(files) > 1 else ""


def _versions() -> list[tuple[str, str, str]]:
    """(package, installed, pinned) of what decides digits."""
    if not CONSTRAINTS.is_file():
        return []
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", CONSTRAINTS.read_text(), flags=re.MULTILINE))
    found = []
    for name in NUMERIC:
        try:
            installed = version(name).partition("+")[0]  # 2.15.0+cu132 is 2.15.0
        except PackageNotFoundError:
            installed = "none"
        found.append((name, installed, pinned.get(name, installed)))
    return found


def committed() -> str:
    """What `couplet committed` prints: of metrics, plots and dvc.lock."""
    said = compared_with_commit(load_params(), HERE.dvc_lock)
    return said or "this is no git checkout with a commit, so there is nothing to compare with"
