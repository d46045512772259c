"""`couplet preset`, `check`, `prune` beside files that are somebody's own, and in a fresh clone, in one process."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from couplet.cli import main
from couplet.settings.presets import load_preset, preset_names
from tests.support.params import change_params

COMMITTED = ["metrics/fold_{}.json", "plots/history/fold_{}.csv", "plots/per_label/fold_{}.csv"]


@pytest.fixture
def project(tmp_path: Path, project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone: settings, code and the small files of the committed run of three folds; no data."""
    for name in ("presets", "src", "stages", "dvc.yaml"):
        (tmp_path / name).symlink_to(project_root / name)
    shutil.copy(project_root / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "data").mkdir()
    shutil.copy(project_root / "data/inventory.json", tmp_path / "data/inventory.json")
    for fold in range(3):
        for pattern in (*COMMITTED, "metrics/split.json"):
            path = tmp_path / pattern.format(fold)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COUPLET_SCRATCH", raising=False)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    printed = capsys.readouterr()
    assert (end.value.code or 0, printed.err) == (0, ""), printed
    return printed.out.splitlines()


def files(root: Path) -> list[str]:
    found = [path for name in ("metrics", "plots", "data/models") for path in (root / name).rglob("*.*")]
    return sorted(path.relative_to(root).as_posix() for path in found if path.is_file())


def test_a_preset_with_fewer_folds_removes_the_other_folds_outputs(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = said(capsys, "preset", "db_dgcn")
    gone = [pattern.format(fold) for pattern in COMMITTED for fold in (1, 2)]
    assert lines[1:7] == [f"removed {path}" for path in sorted(gone)]
    assert lines[7] == ("they are of folds that split.folds = [0] does not have; git and DVC bring them back")
    assert "couplet scan" in lines[8] and len(lines) == 9
    assert files(project) == sorted(["metrics/split.json", *(pattern.format(0) for pattern in COMMITTED)])


def test_no_preset_leaves_what_a_later_stage_would_refuse(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(project)
    for name in preset_names():
        said(capsys, "preset", name)
        folds = load_preset(name).split.folds
        left = {int(Path(path).stem.split("_")[1]) for path in files(project) if "fold_" in path}
        assert left <= set(folds), name
        for path in before:
            (project / path).write_text("x")


def test_a_preset_leaves_what_people_named_like_a_fold(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["metrics/fold_notes.json", "data/models/fold_0_backup/config.json", "plots/history/fold_mean.csv"]
    for path in own:
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("x")
    said(capsys, "preset", "db_dgcn")
    assert said(capsys, "prune") == ["folds kept: 0"]
    assert set(own) <= set(files(project))


def test_prune_collects_the_stages_own_scratch_only(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """COUPLET_SCRATCH may be a folder that other things share."""
    shared = project / "shared"
    monkeypatch.setenv("COUPLET_SCRATCH", str(shared))
    long_ago = time.time() - 20 * 86400
    for name in ("train_fold/0123", "prepare/phantom-72x1", "somebody/thesis"):
        (shared / name).mkdir(parents=True)
        os.utime(shared / name, (long_ago, long_ago))
    said(capsys, "prune")
    assert sorted(p.relative_to(shared).as_posix() for p in shared.glob("*/*") if p.is_dir()) == [
        "somebody/thesis"
    ]


def test_check_says_which_settings_do_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_params(project, {"optimizer.momentum": 0.5, "refiner.enabled": False})
    assert said(capsys, "check") == [
        "refiner.enabled: False (preset phantom: True)",
        "optimizer.momentum: 0.5 (preset phantom: 0.9)",
        "does nothing: optimizer.momentum = 0.5 is not read: optimizer.name is adamw",
        "params.yaml is valid: preset phantom, 2 settings differ from it",
    ]


def test_check_refuses_outputs_of_folds_that_the_settings_do_not_have(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_params(project, {"split.folds": [0, 1]})
    with pytest.raises(SystemExit):
        main(["check"])
    assert capsys.readouterr().err == (
        "error: metrics/fold_2.json and 2 more belong to folds that split.folds = [0, 1] does not have: run "
        "`couplet prune`, then `dvc repro`\n"
    )
