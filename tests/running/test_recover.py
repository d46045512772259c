"""What a DVC that was killed while it rewrote its own files leaves, and what `couplet recover` makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from couplet.running.recover import recover

LOCK = """\
schema: '2.0'
stages:
  prepare:
    cmd: python stages/prepare.py
    outs:
    - path: data/prepared
      hash: md5
      md5: aaa.dir
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(LOCK)
    for command in (["init", "-q"], ["add", "dvc.lock"], ["commit", "-qm", "results"]):
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *command], check=True, cwd=tmp_path
        )
    return tmp_path


@pytest.mark.parametrize("left", ["", LOCK.split("h: data")[0], "stages: [\n", "\x00\x01"])
def test_a_cut_lock_is_restored_as_it_was_committed(project: Path, left: str) -> None:
    (project / "dvc.lock").write_text(left)
    recover()
    assert (project / "dvc.lock").read_text() == LOCK


def test_a_cut_lock_that_was_never_committed_is_removed(project: Path) -> None:
    subprocess.run(["git", "rm", "-q", "--cached", "dvc.lock"], check=True)
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "none"], check=True
    )
    (project / "dvc.lock").write_text("")
    recover()
    assert not (project / "dvc.lock").exists()


def test_a_cut_lock_that_dvc_reads_is_left_to_dvc(project: Path) -> None:
    (project / "dvc.lock").write_text(LOCK.split("    outs")[0])
    recover()
    assert (project / "dvc.lock").read_text() == LOCK.split("    outs")[0]


def test_a_whole_lock_is_left_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = LOCK.replace("aaa", "bbb")
    (project / "dvc.lock").write_text(changed)
    recover()
    assert (project / "dvc.lock").read_text() == changed
    (project / "dvc.lock").unlink()
    recover()
    assert not (project / "dvc.lock").exists()
    assert capsys.readouterr().out == "next: `dvc repro`\n" * 2


def entry(number: int) -> str:
    return json.dumps({"write": {"data/models": {"pid": number, "cmd": "dvc repro"}}, "read": {}})


def test_the_rwlock_of_a_dvc_that_is_gone_is_removed_and_that_of_a_running_one_kept(project: Path) -> None:
    rwlock = project / ".dvc/tmp/rwlock"
    for left in ("", "{", "[]", '{"write": {"x": 1}}', entry(1)):  # 1: alive, and no DVC
        rwlock.write_text(left)
        recover()
        assert not rwlock.exists(), left
    rwlock.write_text("{}")
    recover()
    assert rwlock.exists()
    running = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", "dvc"],
        stdout=subprocess.PIPE,
    )
    assert running.stdout is not None
    running.stdout.readline()  # until then the system may not know its command line yet
    rwlock.write_text(entry(running.pid))
    recover()
    assert rwlock.exists()
    running.kill()
    running.wait()
    recover()
    assert not rwlock.exists()
