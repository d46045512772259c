from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from couplet.project.errors import UserError
from couplet.running.scratch import collect, refuse_changed_inputs, stage_provenance, workspace
from couplet.settings.params import Params, parse_params
from couplet.settings.presets import params_yaml

DVC_YAML = """\
stages:
  train_fold:
    foreach: ${split.folds}
    do:
      cmd: python stages/train_fold.py ${item}
      deps:
        - data/prepared
        - data/splits/folds.csv
        - src/loop.py
        - src/models
      params:
        - seed
        - refiner
        - image.size
"""
DVC_LOCK = """\
schema: '2.0'
stages:
  prepare:
    outs:
    - path: data/prepared
      md5: aaa.dir
  split_mis:
    outs:
    - path: data/splits/folds.csv
      md5: bbb
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COUPLET_SCRATCH", raising=False)
    monkeypatch.delenv("COUPLET_FRESH", raising=False)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "dvc.lock").write_text(DVC_LOCK)
    (tmp_path / "src/models").mkdir(parents=True)
    (tmp_path / "src/loop.py").write_text("x = 1\n")
    (tmp_path / "src/models/net.py").write_text("y = 1\n")
    return tmp_path


def with_changes(**sections: dict[str, object]) -> Params:
    content = Params().as_dict()
    for section, changes in sections.items():
        content[section].update(changes)
    return parse_params(content, "here")


def test_provenance_has_the_stages_params_and_the_locks_hashes(project: Path) -> None:
    found = stage_provenance("train_fold", Params())
    assert found.params == {
        "seed": 42,
        "image.size": 380,
        "refiner.enabled": True,
        "refiner.alpha": 0.3,
        "refiner.lambda": 0.001,
    }
    assert found.data == {"data/prepared": "aaa.dir", "data/splits/folds.csv": "bbb"}


def test_key_follows_exactly_what_dvc_invalidates_on(project: Path) -> None:
    def key(params: Params | None = None) -> str:
        return stage_provenance("train_fold", params or Params()).key(fold=0)

    first = key()
    assert key() == first
    assert key(with_changes(inference={"tta": False})) == first  # not one of the stage's params
    assert key(with_changes(image={"store_size": 512})) == first
    assert key(with_changes(refiner={"enabled": False})) != first
    assert stage_provenance("train_fold", Params()).key(fold=1) != first

    (project / "src/models/net.pyc").write_bytes(b"compiled")
    assert key() == first
    (project / "src/models/net.py").write_text("y = 2\n")
    assert key() != first
    (project / "src/models/net.py").write_text("y = 1\n")
    assert key() == first
    (project / "dvc.lock").write_text(DVC_LOCK.replace("aaa.dir", "ccc.dir"))
    assert key() != first


def test_unknown_data_never_shares_a_key(project: Path) -> None:
    (project / "dvc.lock").unlink()
    first, second = (stage_provenance("train_fold", Params()) for _ in range(2))
    assert first.key() != second.key()
    assert first.data["data/prepared"].startswith("unknown ")
    assert not first.differs_from(second)  # a fold that is trained by hand must not fail at its end


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
    for name in ("dvc.yaml", "dvc.lock"):
        (checkout / name).write_text((project / name).read_text())
    monkeypatch.chdir(checkout)
    with workspace("train_fold", "k") as folder:
        assert folder == project / ".scratch/train_fold/k"


def test_a_stage_that_tracks_the_whole_of_params_has_every_setting(project: Path) -> None:
    (project / "dvc.yaml").write_text("stages: {report: {deps: [], params: [{params.yaml: }]}}\n")
    assert stage_provenance("report", Params()).params["inference.tta"] is True


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


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda: None, None),
        (lambda: Path("src/loop.py").write_text("x = 2\n"), "the code"),
        (lambda: Path("data/splits/folds.csv").write_text("b\n"), "data/splits/folds.csv"),
        (lambda: edit(refiner={"alpha": 0.5}), "refiner.alpha"),
        (lambda: edit(inference={"tta": False}), None),  # not one of the stage's settings
        (lambda: Path("dvc.lock").write_text("{}\n"), None),  # another stage's result was recorded
    ],
)
def test_a_stage_whose_inputs_change_while_it_runs_fails(
    project: Path, change: Callable[[], object], named: str | None
) -> None:
    """DVC would record the new inputs with the old ones' result."""
    edit()
    (project / "data/splits").mkdir(parents=True)
    (project / "data/splits/folds.csv").write_text("a\n")

    def train_fold() -> str:
        change()
        return "done"

    if named is None:
        assert refuse_changed_inputs(train_fold)() == "done"
    else:
        with pytest.raises(UserError, match=f"^{named} changed while train_fold ran, so its result was not"):
            refuse_changed_inputs(train_fold)()


def edit(**sections: dict[str, object]) -> None:
    Path("params.yaml").write_text(params_yaml(with_changes(**sections)))
