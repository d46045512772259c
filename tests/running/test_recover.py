"""What a DVC that was killed while it rewrote its own files leaves, and what `couplet recover` makes of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from couplet.running.recover import recover
from tests.support.errors import refused

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


CONFLICT = LOCK.replace(
    "      md5: aaa.dir\n",
    "<<<<<<< HEAD\n      md5: aaa.dir\n=======\n      md5: bbb.dir\n>>>>>>> theirs\n",
)


def test_a_conflict_in_the_lock_is_called_one_and_nothing_is_chosen(project: Path) -> None:
    (project / "dvc.lock").write_text(CONFLICT)
    assert refused(recover) == (
        "dvc.lock line 8: git left a merge conflict here (<<<<<<< HEAD): keep one side and take its marks out, or "
        "`git checkout --ours dvc.lock` (or --theirs), then run `dvc repro`"
    )
    assert (project / "dvc.lock").read_text() == CONFLICT


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml"])
def test_so_is_one_in_what_dvc_reads_beside_the_lock(project: Path, name: str) -> None:
    (project / name).write_text("seed: 1\n<<<<<<<\nx: 1\n=======\nx: 2\n>>>>>>>\n")
    assert refused(recover).startswith(f"{name} line 2: git left a merge conflict here (<<<<<<<): keep")


def git(*arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments], check=True)


def test_a_lock_that_cannot_be_restored_is_kept_beside_its_place(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its stages are not in the last commit, or that commit's lock is cut too."""
    half = LOCK.split("h: data")[0]
    (project / "dvc.lock").write_text(half)
    git("commit", "-qam", "a cut lock")
    recover()
    assert not (project / "dvc.lock").exists()
    assert (project / "dvc.lock.damaged").read_text() == half
    assert capsys.readouterr().out.splitlines()[0] == (
        "dvc.lock was half-written, and the last commit has no whole one: moved to dvc.lock.damaged"
    )
    (project / "dvc.lock").write_text("")
    recover()
    assert (project / "dvc.lock.damaged").read_text() == half
    assert (project / "dvc.lock.damaged2").read_text() == ""


@pytest.mark.parametrize("program", ["no git", "no repository"])
def test_without_git_a_cut_lock_is_kept_too(
    project: Path, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zip download: git may not even be installed."""
    shutil.rmtree(project / ".git")
    if program == "no git":
        monkeypatch.setenv("PATH", str(project))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    (project / "dvc.lock").write_text("stages: [")
    recover()
    assert (project / "dvc.lock.damaged").read_text() == "stages: ["


def test_a_zip_download_is_told_what_dvc_wants(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".dvc/config").write_text("[core]\n    analytics = false\n")
    recover()
    assert capsys.readouterr().out == "next: `dvc repro`\n"
    shutil.rmtree(project / ".git")
    recover()
    assert capsys.readouterr().out == (
        "this is no git checkout, and DVC will not start: run `git init && git add -A && git commit -m start`, or "
        "`dvc config --local core.no_scm true` to do without experiments and comparisons; next: `dvc repro`\n"
    )
    (project / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    recover()
    assert capsys.readouterr().out == "next: `dvc repro`\n"
    # Below another repository DVC works with that one.
    (project / ".dvc/config.local").unlink()
    (project.parent / ".git").mkdir(exist_ok=True)
    recover()
    (project.parent / ".git").rmdir()
    assert capsys.readouterr().out == "next: `dvc repro`\n"


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
