"""What another machine gives: caps from outside stand for other CPUs, and results that somebody else committed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from couplet.running.arithmetic import lacks_avx2
from tests.support.projects import MODEL, Project, untrained

CAPS = {
    "AVX2 only": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    },
    "AVX-512 without bf16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "MKL_CBWR": "AVX512"},
    "as old as can be": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Prescott",
    },
}


@pytest.mark.parametrize("caps", CAPS.values(), ids=CAPS)
def test_portable_arithmetic_gives_the_same_bytes_under_any_cap(
    finished: Project, tmp_path: Path, caps: dict[str, str]
) -> None:
    if lacks_avx2() is not None:
        pytest.skip(str(lacks_avx2()))
    project = untrained(finished, tmp_path / "project")
    project.variables |= caps
    project.run("python", "stages/train_fold.py", "0")
    assert project.bytes_of(MODEL) == finished.bytes_of(MODEL)
    assert project.json(f"{MODEL}/config.json")["arithmetic"] == {"name": "portable", "cap": "AVX2"}


def test_native_arithmetic_names_its_machine_and_is_never_resumed_in_another(
    finished: Project, tmp_path: Path
) -> None:
    project = untrained(finished, tmp_path / "project")
    project.set_params({"train.arithmetic": "native", "train.precision": "float32", "train.device": "cpu"})
    project.run("python", "stages/train_fold.py", "0")
    here = project.json(f"{MODEL}/config.json")["arithmetic"]
    assert here["name"] == "native" and here["processor"] and here["instruction_sets"]

    project.variables |= {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    said = project.run("python", "stages/train_fold.py", "0").stdout
    assert "going on from" not in said
    there = project.json(f"{MODEL}/config.json")["arithmetic"]
    assert there["instruction_sets"] == "DEFAULT" and there["ONEDNN_MAX_CPU_ISA"] == "SSE41"


def test_the_way_back_where_somebody_elses_results_are_committed_and_the_cache_is_empty(
    finished: Project, tmp_path: Path
) -> None:
    """A clone whose dvc.lock names what no cache here has, as after a run on a GPU or another library version."""
    project = finished.copy_to(tmp_path / "project")
    lock = (project.folder / "dvc.lock").read_text()
    for fold in "012":
        model = finished.lock()["stages"][f"train_fold@{fold}"]["outs"][0]["md5"]
        lock = lock.replace(model, f"{hashlib.md5(model.encode()).hexdigest()}.dir")
    (project.folder / "dvc.lock").write_text(lock)
    metrics = project.folder / "metrics/ensemble.json"
    theirs = json.loads(metrics.read_text())
    theirs["oof"]["auc_macro"] = 0.9999
    metrics.write_text(json.dumps(theirs))
    project.commit("results of another machine")
    for left in ("data/prepared", "data/splits", "data/models", "data/predictions", ".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(project.folder / left)

    said = project.run("dvc", "repro").stdout
    assert "differs from the last commit" in said
    project.run("dvc", "exp", "run", "-n", "baseline")
    ours = project.bytes_of("data/models", "metrics")
    project.run("dvc", "exp", "run", "-n", "no-refiner", "-S", "refiner.enabled=false")
    difference = json.loads(project.run("dvc", "metrics", "diff", "--json", "baseline", "no-refiner").stdout)
    old = (
        difference["metrics"]["metrics/ensemble.json"]
        if "metrics" in difference
        else difference["metrics/ensemble.json"]
    )
    assert old["oof.auc_macro"]["old"] == finished.json("metrics/ensemble.json")["oof"]["auc_macro"]
    project.run("dvc", "exp", "apply", "baseline")
    assert project.bytes_of("data/models", "metrics") == ours
    assert "up to date" in project.run("dvc", "status").stdout
    assert project.json("metrics/ensemble.json")["oof"]["auc_macro"] != 0.9999
