"""What a user is told when results are not the committed ones."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from couplet.project.project import HERE
from couplet.running import committed
from couplet.running.committed import compared_with_commit
from couplet.settings.params import Params
from tests.support.params import params_with

NATIVE, PORTABLE = Params(), params_with({"train.arithmetic": "portable"})


def git(*arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A commit with results, settings and pinned versions; the machine can compute portably."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(committed, "lacks_avx2", lambda: None)
    monkeypatch.setattr(committed, "processor", lambda: "GenuineIntel family 6 model 60")
    monkeypatch.setattr(committed, "version", lambda name: "2.15.0+cu132" if name == "torch" else "1.0")
    Path("metrics").mkdir()
    Path("plots").mkdir()
    Path("metrics/ensemble.json").write_text(json.dumps({"auc_macro": 0.8}))
    Path("plots/split.csv").write_text("share\n")
    Path("params.yaml").write_text("seed: 42\n")
    Path("dvc.lock").write_text("stages: {}\n")
    Path("constraints.txt").write_text("# pinned\ntorch==2.15.0\nnumpy==1.0\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "results")
    return tmp_path


def other_results() -> None:
    Path("metrics/ensemble.json").write_text(json.dumps({"auc_macro": 0.9}))


def test_equal_results_are_said_to_be_equal(checkout: Path) -> None:
    assert compared_with_commit(PORTABLE) == "the results are those of the last commit, byte for byte"


def test_other_settings_explain_other_results(checkout: Path) -> None:
    other_results()
    Path("plots/split.csv").write_text("other\n")
    Path("params.yaml").write_text("seed: 43\n")
    assert compared_with_commit(PORTABLE) == (
        "metrics/ensemble.json (and 1 more) differs from the last commit, as params.yaml does"
    )


def test_rows_of_other_runs_are_no_results_of_this_one_and_explain_another_report(checkout: Path) -> None:
    Path("metrics/systems.csv").write_text("system\n")
    assert compared_with_commit(PORTABLE) == "the results are those of the last commit, byte for byte"
    Path("dvc.lock").write_text("stages: {report: {}}\n")
    assert compared_with_commit(PORTABLE, HERE.dvc_lock) == (
        "dvc.lock differs from the last commit, as metrics/systems.csv does"
    )


def test_native_arithmetic_explains_other_digits(checkout: Path) -> None:
    other_results()
    assert compared_with_commit(NATIVE) == (
        "metrics/ensemble.json differs from the last commit, because train.arithmetic is native: the digits are those "
        "of the machine that each model's config.json names; compare it with runs of this machine only (README, the "
        "ablation)"
    )


def test_a_machine_without_avx2_is_told_so(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other_results()
    monkeypatch.setattr(committed, "lacks_avx2", lambda: "this machine is aarch64, not x86-64")
    assert compared_with_commit(PORTABLE) == (
        "metrics/ensemble.json differs from the last commit, because this machine is aarch64, not x86-64: portable "
        "arithmetic needs an x86-64 CPU with AVX2; compare it with runs of this machine only (README, the ablation)"
    )


def test_other_versions_are_named(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other_results()
    monkeypatch.setattr(committed, "version", lambda name: "2.14.1" if name == "torch" else "1.0")
    assert compared_with_commit(PORTABLE) == (
        "metrics/ensemble.json differs from the last commit, because other versions are installed: torch 2.14.1 "
        "(constraints.txt: 2.15.0); `make .venv` installs them"
    )


def test_what_nothing_explains_is_asked_to_be_reported(checkout: Path) -> None:
    other_results()
    said = compared_with_commit(PORTABLE) or ""
    assert "although settings, code, versions and arithmetic are the commit's" in said
    assert "report it with your CPU (GenuineIntel family 6 model 60)" in said


def test_the_lock_counts_only_where_it_is_asked_for(checkout: Path) -> None:
    Path("dvc.lock").write_text("stages: {a: 1}\n")
    assert compared_with_commit(PORTABLE) == "the results are those of the last commit, byte for byte"
    assert (compared_with_commit(PORTABLE, HERE.dvc_lock) or "").startswith("dvc.lock differs")


def test_a_folder_without_git_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert compared_with_commit(NATIVE) is None
