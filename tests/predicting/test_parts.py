"""A folder of parts: killed and gone on with, and made by Ray's tasks, it has the bytes of an undisturbed run."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from couplet.predicting import parts, rendered, tasks
from couplet.predicting.rows import Options
from couplet.project.errors import UserError
from couplet.running.arithmetic import NUMPY_CAP, TORCH_CAP
from tests.support.dicoms import dicom
from tests.support.in_process import InProcessProject
from tests.support.projects import ROOT

IMAGES = "data/raw/csv/images"  # 24 pictures: four parts of six, each in two batches
NAMES = [f"part-{number:05d}.csv" for number in range(4)]


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden and temporary ones included."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_parts_of_another_augmentation_view_or_without_maps_are_not_taken_over() -> None:
    def key(maps: bool = False, **engine: Any) -> str:
        seen = SimpleNamespace(**{"tta": True, "view": "whole"} | engine)
        ensemble = SimpleNamespace(digest="a", batch_size=8, known_labels={}, engine=seen)
        return parts.key_of([], ensemble, Options(maps=maps))  # type: ignore[arg-type]

    keys = [key(), key(tta=False), key(view="centre"), key(maps=True)]
    assert len(set(keys)) == 4 and key() == keys[0]


# --- tasks without Ray: they run here, one after the other ------------------------------------------------------


@pytest.fixture
def asked(project: InProcessProject, monkeypatch: pytest.MonkeyPatch) -> list[tasks.PartTask]:
    """What is asked of Ray, in a process that stands for all nodes; parts have two inputs."""
    asked: list[tasks.PartTask] = []

    def here(function: Callable[..., Any], items: Sequence[tasks.PartTask], what: str, *takes: int) -> Any:
        assert (what, takes) == (
            "missing part",
            (0, project.entry("data/models/fold_0/config.json", "params.train.threads")),
        )
        asked.extend(items)
        return (function(item, 2) for item in items)

    monkeypatch.setattr(tasks, "ordered_tasks", here)
    monkeypatch.setattr(parts.write_parts, "__defaults__", (2,))
    tasks._loaded.cache_clear()
    folder = project.folder / "new"
    folder.mkdir()
    for number in range(3):
        name = f"{number:02d}.png"
        (folder / name).write_bytes((project.raw / "images" / name).read_bytes())
    (folder / "03.png").write_text("no picture")
    pixels = np.random.default_rng(0).integers(0, 256, (44, 40)).astype(np.uint8)
    (folder / "04.dcm").write_bytes(dicom(pixels, ViewPosition="AP"))
    return asked


def test_tasks_write_what_this_process_writes_and_only_what_is_missing(
    project: InProcessProject, asked: list[tasks.PartTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendered, "NOT_SAID", ("csv",))
    given = ("predict", "new", "--maps")
    here = project.run(*given, "maps", "--out", "here")
    monkeypatch.setenv("COUPLET_WORKERS", "ray")
    by_tasks = project.run(*given, "maps_by_tasks", "--out", "there")
    assert (here.code, here.out[-1]) == (3, "here: 5 rows, 4 ok, 1 unreadable")
    assert (by_tasks.code, by_tasks.out[-1]) == (3, "there: 5 rows, 4 ok, 1 unreadable")
    assert len(asked) == 3 and contents(project.folder / "there") == contents(project.folder / "here")
    maps = contents(project.folder / "maps_by_tasks")
    assert len(maps) == 4 and maps == contents(project.folder / "maps")
    remark = [line for line in here.out if "image.dicom" in line]
    assert len(remark) == 1 and [line for line in by_tasks.out if "image.dicom" in line] == remark
    assert by_tasks.out.count("predict, parts: 3/3") == 1

    before = {path: path.stat().st_mtime_ns for path in (project.folder / "there").glob("part-*")}
    (project.folder / "there/part-00001.csv").write_text("damaged")
    again = project.run(*given, "maps_by_tasks", "--out", "there")
    assert [task.part.path.name for task in asked[3:]] == ["part-00001.csv"]
    assert [line for line in again.out if "already" in line] == [
        "there/part-00000.csv is there already",
        "there/part-00002.csv is there already",
    ]
    assert contents(project.folder / "there") == contents(project.folder / "here")
    after = {path.name for path, time in before.items() if path.stat().st_mtime_ns == time}
    assert after == {
        f"part-0000{number}{kind}" for number in (0, 2) for kind in (".csv", ".decisions.csv", ".json")
    }

    assert project.run(*given, "maps_by_tasks", "--out", "there").code == 3
    assert len(asked) == 4  # Ray is not started for parts that are all there


def test_a_task_that_was_given_again_finds_its_part_finished(
    project: InProcessProject, asked: list[tasks.PartTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUPLET_WORKERS", "ray")
    assert project.run("predict", "new", "--out", "parts").code == 3
    monkeypatch.setattr(tasks, "write_part", None)
    assert [tasks.make_part(task, 1).counts for task in asked] == [
        {"ok": 2},
        {"ok": 1, "unreadable": 1},
        {"ok": 1},
    ]


def test_a_node_that_computes_otherwise_or_sees_other_files_is_refused(
    project: InProcessProject, asked: list[tasks.PartTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUPLET_WORKERS", "ray")
    assert project.run("predict", "new", "--out", "parts").code == 3
    task = asked[0]
    assert "torch" in task.computes and task.computes["device"] == "cpu"
    for name in task.computes:
        with pytest.raises(UserError) as refused:
            tasks.make_part(task._replace(computes=task.computes | {name: "another"}), 1)
        assert str(refused.value) == (
            f"{platform.node()} has another {name} than the machine that runs predict: give all nodes one checkout and the "
            "same versions, and under train.arithmetic = native the same processors"
        )
    first = project.folder / "new/00.png"
    first.write_bytes(first.read_bytes() + b"more")
    with pytest.raises(UserError) as refused:
        tasks.make_part(task, 1)
    assert str(refused.value) == (
        f"{platform.node()} sees other files or another model than the machine that runs predict, or they changed since "
        f"it started ({first} and the 1 after it): all nodes must see the same files under the same paths"
    )


def test_parts_that_are_written_where_this_process_does_not_see_them_are_an_error(
    project: InProcessProject, asked: list[tasks.PartTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUPLET_WORKERS", "ray")
    monkeypatch.setattr(tasks, "make_part", lambda task, threads: tasks.PartMade({"ok": 2}, dicom=False))
    monkeypatch.setattr(tasks, "PATIENCE", 0.0)
    done = project.run("predict", "new", "--out", "parts")
    assert (done.code, done.err) == (
        1,
        [
            "error: parts/part-00000.csv was written on another machine and is not here: --out must be on a file system "
            "that all nodes see under the same path"
        ],
    )


def test_what_a_network_file_system_shows_late_is_waited_for(
    project: InProcessProject, asked: list[tasks.PartTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUPLET_WORKERS", "ray")
    looked: list[str] = []

    def late(part: parts.Part) -> parts.Counts | None:
        looked.append(part.path.name)
        # The first is before the task, the second in it.
        return None if len(looked) < 4 else parts.counts_of(part)

    monkeypatch.setattr(tasks, "counts_of", late)
    assert project.run("predict", "new/00.png", "--out", "parts").code == 0
    assert looked == ["part-00000.csv"] * 4 and len(asked) == 1


def test_one_file_is_made_by_this_process(
    project: InProcessProject, asked: list[tasks.PartTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUPLET_WORKERS", "ray")
    done = project.run("predict", "new/00.png")
    assert (done.code, asked) == (0, [])
    assert (
        "COUPLET_WORKERS=ray shares out the parts of a folder (--out without an ending): one file is made by this process"
    ) in done.out


# --- processes of their own -------------------------------------------------------------------------------------


@pytest.fixture
def predict(project: InProcessProject) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run tests/support/predict_parts.py on all pictures; all processes compute in the same arithmetic."""

    def run(disturbed: str, out: str, workers: str = "2") -> subprocess.CompletedProcess[str]:
        script = ROOT / "tests/support/predict_parts.py"
        paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "CUDA_VISIBLE_DEVICES": ""}
        return subprocess.run(
            [sys.executable, script, disturbed, "predict", IMAGES, "--view", "AP", "--out", out],
            cwd=project.folder,
            env={**os.environ, **NUMPY_CAP, **TORCH_CAP, **paths, "COUPLET_WORKERS": workers},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.mark.slow
def test_a_run_killed_after_part_two_of_four_goes_on_with_the_third(
    project: InProcessProject, predict: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert predict("undisturbed", "whole").returncode == 0
    assert predict("killed", "parts").returncode == -9
    folder = project.folder / "parts"
    assert sorted(path.name for path in folder.glob("part-*.csv") if "dec" not in path.name) == NAMES[:2]
    assert len(list(folder.glob(".part-00002.csv.*.tmp"))) == 1 and not (folder / "predictions.csv").exists()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    assert len(before) == 6

    again = predict("undisturbed", "parts")
    assert (again.returncode, again.stderr) == (0, "")
    assert [f"parts/{name} is there already" in again.stdout for name in NAMES] == [True, True, False, False]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert contents(folder) == contents(project.folder / "whole")
    assert len(contents(folder)) == 14


needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed"
)


@needs_ray
@pytest.mark.slow
def test_rays_tasks_write_the_bytes_of_threads_although_two_processes_are_killed(
    project: InProcessProject, predict: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert predict("undisturbed", "by_threads").returncode == 0
    done = predict("workers", "by_ray", workers="ray")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "by_ray: 24 rows, 24 ok"), done.stderr
    assert len(list(project.folder.glob("part-0000?.killed"))) == 2
    assert contents(project.folder / "by_ray") == contents(project.folder / "by_threads")
    record = json.loads((project.folder / "by_ray/part-00003.json").read_text())
    assert record["rows"] == {"ok": 6}


@needs_ray
@pytest.mark.slow
def test_what_a_task_refuses_is_one_line(
    project: InProcessProject, predict: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    path = project.folder / "data/models/fold_0/predictor.safetensors"
    weights = load_file(path)
    save_file(
        {
            name: value * np.float32("nan") if value.dtype == np.float32 else value
            for name, value in weights.items()
        },
        path,
    )
    done = predict("undisturbed", "by_ray", workers="ray")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert line.startswith("error: the model: ") and "are not finite (first: image 00.png" in line
    assert not list((project.folder / "by_ray").glob("*"))
