from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def couplet(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "couplet", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path, project_root: Path) -> Path:
    """A project's code and settings without its data."""
    shutil.copytree(project_root / "presets", tmp_path / "presets")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(project_root / name, tmp_path / name)
    for name in ("src", "stages"):
        (tmp_path / name).symlink_to(project_root / name)
    (tmp_path / "data").mkdir()
    shutil.copy(project_root / "data/inventory.json", tmp_path / "data/inventory.json")
    return tmp_path


def test_check_says_what_differs_from_the_preset(project: Path) -> None:
    assert couplet(project, "check").stdout == (
        "params.yaml is valid: preset phantom, 0 settings differ from it\n"
    )
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("  lambda: 0.001", "  lambda: 0.01"))
    assert couplet(project, "check").stdout == (
        "refiner.lambda: 0.01 (preset phantom: 0.001)\n"
        "params.yaml is valid: preset phantom, 1 settings differ from it\n"
    )


def test_mistakes_are_one_line_and_change_nothing(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    result = couplet(project, "preset", "papper")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: no preset 'papper' in presets/: did you mean paper?\n"
    assert (project / "params.yaml").read_text() == before

    (project / "params.yaml").write_text(before.replace("enabled: true", "enabld: true", 1))
    for command in (["check"], ["train-fold", "0"], ["scan"], ["report"]):
        result = couplet(project, *command)
        assert result.returncode == 1
        assert result.stderr == (
            "error: params.yaml: unknown key refiner.enabld: did you mean refiner.enabled?\n"
        ), command


def test_preset_writes_params_and_says_what_is_next(project: Path) -> None:
    result = couplet(project, "preset", "nih")
    assert result.returncode == 0
    assert "params.yaml now holds the preset nih" in result.stdout
    assert "couplet scan" in result.stdout
    assert "  source: nih" in (project / "params.yaml").read_text()
    assert "phantom" in couplet(project, "preset").stdout.splitlines()


def test_preset_keeps_what_it_is_told_to(project: Path) -> None:
    result = couplet(project, "preset", "paper", "--keep", "data,image,model.backbone_args")
    assert (result.returncode, result.stderr) == (0, "")
    assert "the preset paper but for what stays: data,image,model.backbone_args; " in result.stdout
    check = couplet(project, "check").stdout
    assert re.findall(r"^(\S+):.*\(preset paper: ", check, flags=re.MULTILINE) == [
        "data.source",
        "data.source_args",
        "image.size",
        "image.store_size",
        "image.codec",
        "model.backbone_args",
    ]
    assert "params.yaml is valid: preset paper, 6 settings differ from it\n" in check


def test_outside_a_project_it_says_so(tmp_path: Path) -> None:
    result = couplet(tmp_path, "check")
    assert result.returncode == 1
    assert result.stderr == "error: params.yaml is not there: run this in the project's root folder\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["preprae"], "No such command 'preprae'. Did you mean 'prepare'"),
        (["train-fold"], "Missing argument 'fold': `couplet train-fold --help` says what it takes"),
        (["prepare", "--fast"], "No such option: --fast: `couplet prepare --help` says what it takes"),
    ],
)
def test_a_wrong_command_line_is_one_line(project: Path, arguments: list[str], message: str) -> None:
    result = couplet(project, *arguments)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith(f"error: {message}")


def test_help_and_no_command(project: Path) -> None:
    assert couplet(project, "--help").returncode == 0
    result = couplet(project)
    assert result.returncode == 2 and "train-fold" in result.stdout + result.stderr


def test_an_unknown_fold_is_refused(project: Path) -> None:
    result = couplet(project, "train-fold", "7")
    assert result.returncode == 1
    assert (
        result.stderr
        == "error: fold 7 is not in split.folds = [0, 1, 2]: name one of them, or add it there\n"
    )


def test_prune_removes_outputs_of_other_folds_only(project: Path) -> None:
    for fold in (0, 3):
        (project / f"data/models/fold_{fold}").mkdir(parents=True)
        for folder, ending in (
            ("data/predictions/folds", "csv"),
            ("metrics", "json"),
            ("plots/history", "csv"),
        ):
            (project / folder).mkdir(parents=True, exist_ok=True)
            (project / folder / f"fold_{fold}.{ending}").write_text("x")
    result = couplet(project, "prune")
    assert result.stdout.splitlines() == [
        "removed data/models/fold_3",
        "removed data/predictions/folds/fold_3.csv",
        "removed metrics/fold_3.json",
        "removed plots/history/fold_3.csv",
        "folds kept: 0, 1, 2",
    ]
    assert (project / "data/models/fold_0").exists()
    assert (project / "metrics/fold_0.json").exists()


def test_commands_without_weights_do_not_load_torch(project: Path) -> None:
    code = "import sys; sys.argv = ['couplet', 'check']\nfrom couplet.cli import app\ntry: app()\nexcept SystemExit: pass\nprint('torch' in sys.modules, 'pandas' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True, env=os.environ
    )
    assert result.stdout.splitlines()[-1] == "False False"
