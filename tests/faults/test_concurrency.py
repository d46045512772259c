"""Several DVC processes on one checkout: no damage, and the same bytes as one after the other."""

from __future__ import annotations

import os
import signal

from tests.faults.bench import Bench, start, undo, wait_for
from tests.support.projects import Project


def checkpoint(project: Project) -> bool:
    return any((project.folder / ".scratch/train_fold").glob("*/checkpoint.json"))


def test_a_second_repro_beside_the_first_refuses_and_harms_nothing(bench: Bench) -> None:
    project = bench.copy("train_fold@0")
    first = start(project)
    wait_for(lambda: checkpoint(project), first)
    os.killpg(first.pid, signal.SIGSTOP)  # else it may be done before the second has started
    try:
        second = project.run("dvc", "repro", check=False)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert second.returncode != 0
    assert "is busy, it is being blocked by" in second.stderr
    assert "Traceback" not in second.stderr
    assert first.wait() == 0
    assert "up to date" in project.run("dvc", "repro").stdout
    assert bench.differences(project) == []


def test_two_repros_started_at_once(bench: Bench) -> None:
    """Whatever the order in which they get DVC's locks: at least one ends well, the other well or in a refusal."""
    project = bench.copy("split_mis")
    first = start(project)
    second = project.run("dvc", "repro", check=False)
    codes = [first.wait(), second.returncode]
    assert 0 in codes
    if second.returncode != 0:
        assert "lock" in second.stderr or "is busy" in second.stderr
    project.run("dvc", "repro")
    assert bench.differences(project) == []


def test_folds_in_parallel_give_the_bytes_of_one_after_the_other(bench: Bench) -> None:
    project = bench.copy("train_fold@0")
    undo(project, "train_fold@1")
    folds = [project.start("dvc", "--wait-for-lock", "repro", "-s", f"train_fold@{fold}") for fold in (0, 1)]
    assert [fold.wait() for fold in folds] == [0, 0]
    project.run("dvc", "repro")
    assert bench.differences(project) == []


def test_an_experiment_in_a_temporary_checkout_beside_a_repro(bench: Bench) -> None:
    """Both need the same fold: its two trainers have one scratch folder, and the second waits for the first."""
    project = bench.copy("train_fold@0")
    first = start(project)
    wait_for(lambda: checkpoint(project), first)
    project.run("dvc", "exp", "run", "--temp", "-S", "inference.tta=false", "evaluate_fold@0")
    assert first.wait() == 0
    project.run("dvc", "repro")
    assert bench.differences(project) == []

    alone = bench.copy()
    alone.set_params({"inference.tta": False})
    alone.run("dvc", "repro", "evaluate_fold@0")
    references = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    experiment = next(name for name in references if name.count("/") == 4)  # refs/exps/<2>/<38>/<name>
    for name in ("metrics/fold_0.json", "plots/per_label/fold_0.csv", "plots/history/fold_0.csv"):
        assert project.run("git", "show", f"{experiment}:{name}").stdout == (alone.folder / name).read_text()
