"""What git keeps of the project: the same bytes on every machine, and nothing that DVC or its commands make."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# Of each kind that a dependency of dvc.yaml, a metric or a plot has; .bin stands for anything that holds a zero byte.
TEXT = (
    *("dvc.yaml", "dvc.lock", "params.yaml", "data/inventory.json", "src/couplet/cli.py", "src/x.jinja"),
    *("metrics/split.json", "plots/split.csv", "presets/nih.yaml", "Makefile", ".dvcignore", "README.md"),
)
BINARY = ("docs/report.png", "x.npy", "x.npz", "x.safetensors", "x.parquet", "x.jpg", "x.bin")


def git(folder: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "safe.directory=*")
    result = subprocess.run(
        ["git", *settings, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return result.stdout


@pytest.fixture
def repository(tmp_path: Path, project_root: Path) -> Path:
    """A repository with this checkout's own rules and a file of each kind."""
    folder = tmp_path / "repository"
    for name in (*TEXT, *BINARY):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a\r\nb\x00\r\n\n" if name in BINARY else b"a: 1\nb: 2\n")
    for name in (".gitattributes", ".gitignore"):
        shutil.copy(project_root / name, folder / name)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "files")
    return folder


@pytest.mark.parametrize("setting", ["core.autocrlf=true", "core.autocrlf=input", "core.eol=crlf"])
def test_a_clone_has_the_same_bytes_whatever_git_is_told_of_line_ends(
    repository: Path, tmp_path: Path, setting: str
) -> None:
    git(tmp_path, "clone", "-q", "-c", setting, str(repository), "clone")
    for name in (*TEXT, *BINARY):
        assert (tmp_path / "clone" / name).read_bytes() == (repository / name).read_bytes(), name
    assert git(tmp_path / "clone", "status", "--porcelain") == ""


def test_a_file_saved_with_other_line_ends_is_committed_with_ours(repository: Path) -> None:
    (repository / "params.yaml").write_bytes(b"a: 1\r\nb: 3\r\n")
    git(repository, "commit", "-qam", "an editor's line ends")
    assert git(repository, "cat-file", "-p", "HEAD:params.yaml") == "a: 1\nb: 3\n"


def test_what_commands_leave_behind_is_ignored(repository: Path) -> None:
    left = (
        *("dvc_plots/index.html", "dvc_plots/static/x.png", "dvc.lock.damaged", "dvc.lock.damaged2"),
        *(".scratch/train_fold/x/best.safetensors", "data/models/fold_0/config.json", "plots/report.html"),
        *("data/prepared.unfinished/manifest.csv", "metrics/.fold_0.json.17.tmp", ".venv/bin/python"),
    )
    for name in left:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("x")
    assert git(repository, "status", "--porcelain") == ""
    # What a run gives people to commit is not.
    (repository / "metrics/ensemble.json").write_text("{}")
    assert git(repository, "status", "--porcelain") == "?? metrics/ensemble.json\n"
