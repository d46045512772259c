from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from couplet.running.workspace import collect, workspace


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COUPLET_SCRATCH", raising=False)
    monkeypatch.delenv("COUPLET_FRESH", raising=False)
    return tmp_path


def test_workspace_keeps_files_until_asked_to_start_afresh(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with workspace("train_fold", "k") as folder:
        assert folder == project / ".scratch/train_fold/k"
        (folder / "state").write_text("1")
    with workspace("train_fold", "k") as folder:
        assert (folder / "state").read_text() == "1"
    monkeypatch.setenv("COUPLET_FRESH", "1")
    with workspace("train_fold", "k") as folder:
        assert list(folder.iterdir()) == []


def _hold(root: Path, entered: multiprocessing.synchronize.Event) -> None:
    os.chdir(root)
    with workspace("train_fold", "k") as folder:
        entered.set()
        time.sleep(0.5)
        (folder / "first").write_text("done")


def test_a_second_process_waits_for_the_first(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = multiprocessing.get_context("fork")
    entered = context.Event()
    other = context.Process(target=_hold, args=(project, entered))
    other.start()
    assert entered.wait(10)
    with workspace("train_fold", "k") as folder:
        assert (folder / "first").read_text() == "done"
    other.join()
    assert "waiting for it to end" in capsys.readouterr().out


def test_collection_is_by_age_and_spares_what_is_in_use(project: Path) -> None:
    parent = project / ".scratch/train_fold"
    for name in ("old", "young", "held"):
        (parent / name).mkdir(parents=True)
        (parent / name / "state").write_text(name)
    long_ago = time.time() - 20 * 86400
    for name in ("old", "held"):
        os.utime(parent / name / "state", (long_ago, long_ago))
        os.utime(parent / name, (long_ago, long_ago))
    with workspace("train_fold", "held"):
        os.utime(parent / "held", (long_ago, long_ago))
        collect(parent)
    assert sorted(path.name for path in parent.iterdir() if path.is_dir()) == ["held", "young"]


def test_experiments_in_temporary_checkouts_share_the_main_scratch(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = project / ".dvc/tmp/exps/tmpabc"
    checkout.mkdir(parents=True)
    monkeypatch.chdir(checkout)
    with workspace("train_fold", "k") as folder:
        assert folder == project / ".scratch/train_fold/k"


def test_collection_survives_files_that_a_parallel_fold_removes_meanwhile(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project / ".scratch/train_fold/other"
    folder.mkdir(parents=True)
    (folder / "state").write_text("1")
    os.utime(folder, (0, 0))
    stat = Path.stat

    def vanishing(path: Path, **options: bool) -> os.stat_result:
        if path.name == "state":
            raise FileNotFoundError(path)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", vanishing)
    collect(folder.parent)
    assert folder.is_dir()
