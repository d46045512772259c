from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from couplet.project.errors import UserError
from couplet.running.provenance import refuse_changed_inputs, stage_provenance
from couplet.settings.params import Params
from couplet.settings.presets import params_yaml
from tests.support.params import params_with

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
    assert key(params_with({"inference.tta": False})) == first  # not one of the stage's params
    assert key(params_with({"image.store_size": 512})) == first
    assert key(params_with({"refiner.enabled": False})) != first
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


def test_a_stage_that_tracks_the_whole_of_params_has_every_setting(project: Path) -> None:
    (project / "dvc.yaml").write_text("stages: {report: {deps: [], params: [{params.yaml: }]}}\n")
    assert stage_provenance("report", Params()).params["inference.tta"] is True


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda: None, None),
        (lambda: Path("src/loop.py").write_text("x = 2\n"), "the code"),
        (lambda: Path("data/splits/folds.csv").write_text("b\n"), "data/splits/folds.csv"),
        (lambda: edit({"refiner.alpha": 0.5}), "refiner.alpha"),
        (lambda: edit({"inference.tta": False}), None),  # not one of the stage's settings
        (lambda: Path("dvc.lock").write_text("{}\n"), None),  # another stage's result was recorded
    ],
)
def test_a_stage_whose_inputs_change_while_it_runs_fails(
    project: Path, change: Callable[[], object], named: str | None
) -> None:
    """DVC would record the new inputs with the old ones' result."""
    edit({})
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


def edit(changes: dict[str, object]) -> None:
    Path("params.yaml").write_text(params_yaml(params_with(changes)))
